// Draws what a visitor may post: the photo, the photo under its blur map, and the verdict.
async function share_picture({value, colors, verdicts}) {
  const [photo, map] = await Promise.all([value.photo.url, value.maps.blur.url].map(async url => {
    const image = Object.assign(new Image(), {src: url});
    await image.decode();
    return image;
  }));
  const width = 1200, gap = 12, margin = 32, beside = value.ratio < 1.4;
  const wide = beside ? (width - 2 * margin - gap) / 2 : width - 2 * margin;
  const side = beside ? wide : Math.min(wide, 520 * value.ratio), tall = Math.min(side / value.ratio, 720);
  const shown = tall * value.ratio, top = 176;
  const height = top + (beside ? tall : 2 * tall + gap) + margin + 24;
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const draw = canvas.getContext("2d");
  const font = (size, weight = 400) => { draw.font = `${weight} ${size}px "IBM Plex Sans", system-ui, sans-serif`; };
  const write = (text, left, baseline, most) => {
    let line = "";
    for (const word of text.split(" ")) {
      if (draw.measureText(line + word).width > most) {
        draw.fillText(line, left, baseline);
        [line, baseline] = ["", baseline + 30];
      }
      line += `${word} `;
    }
    draw.fillText(line, left, baseline);
  };
  const sure = value.figures.certain, tone = sure ? colors[value.figures.label] : "#64748b";
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, width, height);
  draw.fillStyle = tone;
  draw.fillRect(0, 0, width, 12);
  draw.fillStyle = "#1e293b";
  font(52, 700);
  draw.fillText(sure ? verdicts[value.figures.label][0] : "Not sure", margin, 78);
  font(24);
  write(value.figures.reason.replace(/^Not sure: /, ""), margin, 118, width - 2 * margin);
  [0, 1].forEach(index => {
    const left = beside ? margin + index * (wide + gap) + (wide - shown) / 2 : (width - shown) / 2;
    const at = beside ? top : top + index * (tall + gap);
    draw.drawImage(photo, left, at, shown, tall);
    draw.globalAlpha = 0.8;
    if (index) draw.drawImage(map, left, at, shown, tall);
    draw.globalAlpha = 1;
  });
  draw.fillStyle = "#64748b";
  font(18);
  draw.fillText("ABC-FuseNet: does the blur help this photo, or hurt it?", margin, height - 18);
  const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", 0.9));
  const file = new File([blob], "blur-verdict.jpg", {type: "image/jpeg"});
  if (matchMedia("(pointer: coarse)").matches && navigator.canShare?.({files: [file]}))
    return navigator.share({files: [file]}).catch(() => {});  // the visitor thought better of it
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(blob), download: file.name});
  link.click();
}
