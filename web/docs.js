// Draws the page from /openapi.json. Everything is set as text, never as markup.
(async () => {
  const make = (tag, text, ...children) => {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    node.append(...children);
    return node;
  };
  const about = document.getElementById("about");
  const main = document.getElementById("api");
  let api;
  try {
    api = await (await fetch("/openapi.json")).json();
  } catch (error) {
    about.textContent = `The document could not be read: ${error.message}`;
    return;
  }
  const resolve = (part) =>
    part && part.$ref ? part.$ref.slice(2).split("/").reduce((at, key) => at[key], api) : part;
  const typeOf = (schema) => {
    const s = resolve(schema) || {};
    if (s.enum) return s.enum.join(" | ");
    if (s.const !== undefined) return String(s.const);
    if (s.oneOf) return s.oneOf.map(typeOf).join(" | ");
    if (s.type === "array") return `${typeOf(s.items)}[]`;
    return [s.type || "any"].flat().join(" | ");
  };
  const table = (rows) => {
    const body = make("tbody");
    for (const [name, type, text] of rows)
      body.append(make("tr", "", make("td", "", make("code", name)), make("td", type), make("td", text)));
    return make("table", "", body);
  };
  const fields = (schema) => {
    const s = resolve(schema);
    if (s && s.oneOf) return s.oneOf.flatMap(event);
    if (!s || !s.properties) return [];
    const required = new Set(s.required || []);
    return [table(Object.entries(s.properties).map(([name, p]) => [
      name, typeOf(p) + (required.has(name) ? ", required" : ""), (resolve(p) || {}).description || ""]))];
  };
  const event = (schema) => {
    const s = resolve(schema);
    return [make("p", "", make("code", typeOf(s.properties.type)), ` ${s.description || ""}`), ...fields(s)];
  };
  about.prepend(`${api.info.description} Version ${api.info.version}. `);
  const byTag = new Map();
  for (const [path, item] of Object.entries(api.paths))
    for (const [verb, op] of Object.entries(item)) {
      if (!op.responses) continue;
      const tag = (op.tags || ["other"])[0];
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push({ path, verb, op, shared: item.parameters || [] });
    }
  for (const [tag, list] of byTag) {
    main.append(make("h2", tag));
    for (const { path, verb, op, shared } of list) {
      const box = make("details", "", make("summary", "",
        make("b", verb.toUpperCase()), make("code", path), ` ${op.summary || ""}`));
      if (op.description) box.append(make("p", op.description));
      const parameters = [...shared, ...(op.parameters || [])].map(resolve);
      if (parameters.length)
        box.append(make("h3", "Parameters"), table(parameters.map((p) => [
          p.name, `${p.in}, ${typeOf(p.schema)}${p.required ? ", required" : ""}`, p.description || ""])));
      for (const [type, media] of Object.entries((op.requestBody || {}).content || {})) {
        box.append(make("h3", `Request body (${type})`), ...fields(media.schema));
        if (media.example) box.append(make("pre", JSON.stringify(media.example, null, 2)));
      }
      box.append(make("h3", "Answers"));
      for (const [status, answer] of Object.entries(op.responses)) {
        const r = resolve(answer);
        const [type, media] = Object.entries(r.content || {})[0] || ["", {}];
        box.append(make("p", "", make("b", status), ` ${r.description} `, make("code", type)),
          ...fields(media["x-event"] || media.schema));
      }
      main.append(box);
    }
  }
})();
