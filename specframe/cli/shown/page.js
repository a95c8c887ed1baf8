"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const text = document.getElementById("text");
  const elements = [...text.children];
  const part = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDE = 58, HIGH = 36, SIGN = 8.1, MOST = 20, TOP = 22;
  let selected = -1;

  const add = (parent, name, kinds = "", content = "") => {
    const one = document.createElement(name);
    if (kinds) one.className = kinds;
    if (content) one.textContent = content;
    parent.append(one);
    return one;
  };
  const percent = (share) => share >= 0.995 ? "100%" : share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
  const signs = { "\n": "↵", "\t": "→", " ": "·" };
  const visible = (said) => said.replace(/[\n\t]/g, (one) => signs[one]).replace(/^ +$/, (all) => "·".repeat(all.length));
  const quoted = (number) => `“${visible(data.texts[number]).trim() || visible(data.texts[number])}”`;
  const label = (key) => data.origins[key].label;

  // A space before a word is shown faintly, as most tokens begin with one.
  const write = (place, number) => {
    const said = visible(data.texts[number]);
    const space = said.match(/^ +/);
    const shown = add(place, "span");
    if (space) add(shown, "span", "blank", "·");
    shown.append(said.slice(space ? space[0].length : 0));
    shown.title = `${JSON.stringify(data.texts[number])}, id ${data.ids[number]}`;
  };

  const kindOfEnd = (one) =>
    one.nodes.length === 1 ? "alone" : one.rejection === "oov" ? "outside" : one.rejection ? "recovered" : "bonus";

  const became = (one, node) => {
    const level = one.path.indexOf(node);
    if (level < 0) return "rejected";
    if (level === 0) return "root";
    return level <= one.emitted ? "accepted" : "accepted after the end";
  };

  // Every leaf has a row; a parent stands in the row of its first child, and the accepted path is the first row.
  const layout = (one) => {
    const children = one.nodes.map(() => []);
    one.nodes.forEach(([, parent], node) => { if (parent >= 0) children[parent].push(node); });
    const onPath = new Set(one.path);
    for (const list of children) {
      list.sort((a, b) => onPath.has(b) - onPath.has(a) || one.nodes[b][3] - one.nodes[a][3]);
    }
    const last = one.path[one.path.length - 1];
    const rows = one.nodes.map(() => 0);
    let row = 0, first = true;
    const waiting = [[0, true]];
    while (waiting.length) {
      const [node, inRow] = waiting.pop();
      if (!inRow) row += 1;
      rows[node] = row;
      const below = children[node].map((child, at) => [child, at === 0 && node !== last]);
      waiting.push(...below.reverse());
    }
    return { rows, count: row + 1, last };
  };

  const draw = (one, chosen) => {
    const tree = part("tree");
    tree.replaceChildren();
    const { rows, count, last } = layout(one);
    const end = one.nodes[last][2] + 1;
    const deepest = Math.max(end, ...one.nodes.map((node) => node[2]));
    const widths = Array(deepest + 1).fill(0);
    const grow = (depth, number, more) => {
      const said = Math.min([...data.texts[number]].length, MOST);
      widths[depth] = Math.max(widths[depth], WIDE + SIGN * (said + more));
    };
    for (const [number, , depth] of one.nodes) grow(depth, number, 0);
    grow(end, one.next, label(kindOfEnd(one)).length - 3);
    const left = widths.map((_, depth) => widths.slice(0, depth).reduce((sum, wide) => sum + wide + 26, 0));
    const width = left[deepest] + widths[deepest], height = TOP + count * HIGH;
    tree.style.width = `${width}px`;
    tree.style.height = `${height}px`;
    const lines = document.createElementNS(SVG, "svg");
    lines.setAttribute("width", width);
    lines.setAttribute("height", height);
    tree.append(lines);
    const line = (depth, from, to, kind) => {
      const x = left[depth] + widths[depth], y = TOP + from * HIGH + 14, x2 = left[depth + 1], y2 = TOP + to * HIGH + 14;
      const edge = document.createElementNS(SVG, "path");
      edge.setAttribute("d", y === y2 ? `M${x} ${y}H${x2}` : `M${x} ${y}h10V${y2 - 6}q0 6 6 6H${x2}`);
      if (kind) edge.setAttribute("class", kind);
      if (kind) lines.append(edge); else lines.prepend(edge);
    };
    const place = (depth, row, kinds) => {
      const box = add(tree, "div", `node ${kinds}`);
      box.style.left = `${left[depth]}px`;
      box.style.top = `${TOP + row * HIGH}px`;
      box.style.width = `${widths[depth]}px`;
      return box;
    };
    for (let depth = 0; depth <= deepest; depth += 1) {
      const head = add(tree, "span", "depth", depth ? String(depth) : "depth");
      head.style.left = `${left[depth]}px`;
      head.style.width = `${widths[depth]}px`;
    }
    const onPath = new Set(one.path);
    one.nodes.forEach(([number, parent, depth, share, source, active], node) => {
      const fate = node ? (onPath.has(node) ? "accepted" : "rejected") : "root";
      const kinds = [fate === "root" ? "" : source, fate, active ? "" : "inactive", chosen === node ? "chosen" : ""];
      const box = place(depth, rows[node], kinds.filter(Boolean).join(" "));
      write(box, number);
      if (node) add(box, "small", "", percent(share));
      if (node) {
        line(depth - 1, rows[parent], rows[node], onPath.has(node) ? "accepted" : "");
        box.title = `${label(source)}; probability ${(100 * share).toFixed(1)}% given the token before; ` +
          `${active ? "active" : "not active"}; ${became(one, node)}`;
      }
    });
    const kind = kindOfEnd(one);
    const box = place(end, rows[last], `${kind}${chosen === "next" ? " chosen" : ""}`);
    write(box, one.next);
    add(box, "small", "", label(kind));
    box.title = data.origins[kind].meaning;
    line(end - 1, rows[last], rows[last], "accepted");
    const chosenBox = tree.querySelector(".chosen");
    if (chosenBox) part("scroll").scrollLeft = Math.max(0, chosenBox.offsetLeft - part("scroll").clientWidth / 2);
  };

  const table = (one) => {
    const body = part("nodes").tBodies[0];
    body.replaceChildren();
    one.nodes.forEach(([number, parent, depth, share, source, active], node) => {
      const row = add(body, "tr");
      write(add(row, "td"), number);
      add(row, "td", "", String(data.ids[number]));
      add(row, "td", "", String(depth));
      add(row, "td", "", parent < 0 ? "" : visible(data.texts[one.nodes[parent][0]]));
      add(row, "td", "", node ? `${(100 * share).toFixed(1)}%` : "");
      add(row, "td", "", active ? "yes" : "no");
      add(row, "td", "left", node ? label(source) : "emitted before");
      add(row, "td", "left", became(one, node));
    });
    const row = add(body, "tr");
    write(add(row, "td"), one.next);
    add(row, "td", "", String(data.ids[one.next]));
    add(row, "td", "", String(one.nodes[one.path[one.path.length - 1]][2] + 1));
    add(row, "td", "", visible(data.texts[one.nodes[one.path[one.path.length - 1]][0]]));
    add(row, "td");
    add(row, "td", "", one.nextActive ? "yes" : "no");
    add(row, "td", "left", "the target");
    add(row, "td", "left", one.emitted > one.path.length - 1 ? label(kindOfEnd(one)) : "not emitted: the end");
  };

  const sentence = (one) => {
    const drafted = one.nodes.length - 1, accepted = Math.min(one.path.length - 1, one.emitted);
    if (!drafted) return `Nothing was drafted. The target chose ${quoted(one.next)}.`;
    const kept = `${drafted} drafted token${drafted > 1 ? "s" : ""}, ${accepted} accepted.`;
    const over = ` ${one.active.toLocaleString("en")} tokens were active.`;
    const cut = one.emitted < one.path.length;
    if (cut) return `${kept} The generation ended here.${over}`;
    const end = {
      outside: ` The target chose ${quoted(one.next)}, which was not active: no draft could have it.`,
      recovered: ` The target chose ${quoted(one.next)}, which was active, but not drafted here.`,
      bonus: ` The whole path was right, and the target adds ${quoted(one.next)}.`,
    }[kindOfEnd(one)];
    return kept + end + over;
  };

  const stepOf = (at) => data.tokens[at][2];

  const narrow = matchMedia("(max-width: 60rem)").matches;

  const select = (at, moved = true) => {
    if (at < 0 || at >= elements.length) return;
    if (selected >= 0) elements[selected].setAttribute("aria-selected", "false");
    for (const one of text.querySelectorAll(".same")) one.classList.remove("same");
    selected = at;
    const element = elements[at], step = stepOf(at);
    element.setAttribute("aria-selected", "true");
    text.setAttribute("aria-activedescendant", element.id);
    if (moved) element.scrollIntoView({ block: "nearest" });
    part("before").disabled = step === null;
    part("after").disabled = step === data.passes.length - 1 || !data.passes.length;
    if (step === null) {
      part("heading").textContent = "The first token";
      part("said").textContent = `${data.origins.first.meaning} Nothing was drafted for it.`;
      part("tree").replaceChildren();
      part("tree").style.height = "0";
      part("more").hidden = true;
      return;
    }
    let first = at;
    while (first > 0 && stepOf(first - 1) === step) first -= 1;
    for (let other = first; other < elements.length && stepOf(other) === step; other += 1) {
      elements[other].classList.add("same");
    }
    if (mark) { mark.setAttribute("x", step); mark.setAttribute("width", 1); }
    const one = data.passes[step], level = at - first + 1;
    part("heading").textContent = `Pass ${step + 1} of ${data.passes.length}`;
    part("said").textContent = sentence(one);
    part("tree").setAttribute("aria-label", `Draft tree: ${sentence(one)} The table below has all of it.`);
    draw(one, level < one.path.length ? one.path[level] : "next");
    part("more").hidden = false;
    table(one);
  };

  // One bar for each pass: drafted tokens below, the target's own on top.
  const strip = part("strip");
  const mark = strip && document.createElementNS(SVG, "rect");
  const showStrip = () => {
    const brought = data.passes.map(() => []);
    for (const [, key, step] of data.tokens) if (step !== null) brought[step].push(key);
    const most = Math.max(...brought.map((keys) => keys.length));
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${brought.length} ${most}`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.style.width = `${brought.length * 12}px`;
    const bar = (box, x, y, width, height, kind) => {
      Object.entries({ x, y, width, height, class: kind }).forEach(([name, value]) => box.setAttribute(name, value));
      picture.append(box);
    };
    bar(mark, 0, 0, 0, most, "on");
    brought.forEach((keys, step) => keys.forEach((key, level) => {
      bar(document.createElementNS(SVG, "rect"), step + 0.1, most - level - 0.95, 0.8, 0.9, key);
    }));
    picture.addEventListener("click", (event) => {
      const area = picture.getBoundingClientRect();
      const step = Math.floor((event.clientX - area.left) / area.width * brought.length);
      select(data.tokens.findIndex((token) => token[2] === Math.min(step, brought.length - 1)), narrow);
    });
    strip.append(picture);
  };

  const toPass = (by) => {
    const wanted = selected < 0 ? 0 : (stepOf(selected) ?? -1) + by;
    select(wanted < 0 ? 0 : data.tokens.findIndex((token) => token[2] === wanted));
  };

  // The text as it came: what one pass brought appears at once.
  const PACE = 350, LONGEST = 30000;
  const play = part("play");
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    for (const one of elements) one.classList.remove("later");
    play.textContent = "Play it pass by pass";
  };
  play.hidden = data.passes.length < 2;
  play.addEventListener("click", () => {
    if (timer) return stop();
    for (const one of elements) one.classList.add("later");
    play.textContent = "Stop";
    let at = 0;
    const show = () => {
      if (at >= elements.length) return stop();
      const step = stepOf(at);
      select(at);
      for (; at < elements.length && stepOf(at) === step; at += 1) elements[at].classList.remove("later");
    };
    show();
    timer = setInterval(show, Math.min(PACE, LONGEST / data.passes.length));
  });

  text.addEventListener("click", (event) => {
    const element = event.target.closest(".t");
    if (element) select(elements.indexOf(element), narrow);
  });
  text.addEventListener("keydown", (event) => {
    const to = {
      ArrowRight: selected + 1, ArrowLeft: selected - 1, Home: 0, End: elements.length - 1,
    }[event.key];
    if (to !== undefined) select(to);
    else if (event.key === "ArrowDown") toPass(1);
    else if (event.key === "ArrowUp") toPass(-1);
    else return;
    event.preventDefault();
  });
  part("before").addEventListener("click", () => toPass(-1));
  part("after").addEventListener("click", () => toPass(1));

  if (strip) showStrip();

  // It opens on a tree that shows what drafting is: a path that was accepted, and branches that were not.
  const worth = (one) => Math.min(one.path.length - 1, 5) * Math.min(layout(one).count, 8);
  const best = data.passes.reduce((found, one, step) => worth(one) > worth(data.passes[found]) ? step : found, 0);
  // On a phone the tree would cover the text before anybody asked for it.
  if (!narrow) select(Math.max(data.tokens.findIndex((token) => token[2] === best), 0), false);
}
