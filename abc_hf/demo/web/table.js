let order = props.order;
element.addEventListener("click", event => {
  const key = event.target.closest("th button")?.dataset.key;
  if (key) props.order = order = {key, descending: order.key === key && !order.descending};
});
watch("value", () => { props.order = order; });  // with a new value, Gradio sets the first order
