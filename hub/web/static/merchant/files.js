// Files that leave the browser by the merchant's own hand.

export function saveJson(content, name) {
  saveText(`${JSON.stringify(content, null, 2)}\n`, name, "application/json");
}

export function saveText(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
