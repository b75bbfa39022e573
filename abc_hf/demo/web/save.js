file => {
  const link = Object.assign(document.createElement("a"), {href: file.url, download: file.orig_name});
  document.body.append(link);
  link.click();
  link.remove();
}
