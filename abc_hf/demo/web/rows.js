// Which photos the second tab shows. `view` has the visitor's choices; `kinds` are the names of the kinds of blur.
const SHOW = {
  All: () => true,
  Certain: photo => photo.certain,
  "Not sure": photo => !photo.certain,
  Reject: photo => photo.reject,
};

function flagged(photos, {threshold}) {
  return photos.map(photo => ({...photo, reject: photo.score < threshold}));
}
function chosen(photos, view, kinds) {
  return flagged(photos, view).filter(photo =>
    SHOW[view.show](photo) && (view.kind === "All" || view.kind === (kinds[photo.kind] ?? "None")));
}
function breakable(name) {
  return name.replace(/[/_-]+/g, "$&<wbr>");
}
