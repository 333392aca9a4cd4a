// Everything that a model or a host writes reaches the page as text nodes only.

const at = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");

let apiKey = null;

function start() {
  at("key-form").addEventListener("submit", useKey);
  at("ask").addEventListener("submit", send);
  at("question").addEventListener("keydown", keys);
  at("stop").addEventListener("click", stop);
  at("new").addEventListener("click", startOver);
  at("embed").addEventListener("submit", embed);
  watchState();
  watchTraffic();
}

// ---- The gateway -------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Asks the gateway; throws its own words if it refuses. */
async function ask(route, body, signal) {
  const headers = {};
  if (apiKey !== null) headers.Authorization = `Bearer ${apiKey}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(route, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
  });
  if (response.ok) return response;
  const error = await response.json().catch(() => null);
  const message = error?.error?.message ?? `the gateway answered ${response.status}`;
  if (response.status === 401) wantKey();
  throw new Refused(response.status, message);
}

/** The events of a response, as values. */
async function* events(response) {
  let rest = "";
  for await (const text of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
    const whole = (rest + text).split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const data = event.startsWith("data: ") ? event.slice(6) : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** Not every browser lets `for await` read a stream. */
async function* pieces(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function make(tag, kind, text) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Changes a text only if it is another, so that nobody's reading is disturbed. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// ---- The API key -------------------------------------------------------------------------------

const keyGiven = { waiting: [] };

function wantKey() {
  const form = at("key-form");
  if (!form.hidden) return;
  const wrong = apiKey !== null;
  apiKey = null;
  form.hidden = false;
  at("chat").inert = at("no-chat").hidden = true;
  known = false;
  put(at("key-hint"), (wrong ? "That key was not accepted. " : "") + KEPT);
  at("api-key").focus();
}

function useKey(event) {
  event.preventDefault();
  apiKey = at("api-key").value.trim();
  at("api-key").value = "";
  at("key-form").hidden = true;
  keyGiven.waiting.splice(0).forEach((go) => go());
}

/** Until a key is given, if the gateway wants one. */
const admitted = () =>
  at("key-form").hidden ? Promise.resolve() : new Promise((go) => keyGiven.waiting.push(go));

// ---- What the gateway is -----------------------------------------------------------------------

let known = false;

async function watchState() {
  for (;;) {
    await admitted();
    try {
      show(await (await ask("/state")).json());
    } catch (error) {
      if (error.status !== 401) {
        notice("The gateway does not answer. Trying again.");
        // One that is stopping keeps this open for a while, though another may have begun.
        listener.abort();
      }
    }
    await (at("key-form").hidden ? wait(EVERY) : admitted());
  }
}

function show(state) {
  put(at("model"), state.model);
  if (state.shares) showShares();
  put(at("key-id"), state.key_id);
  put(at("epoch"), String(state.epoch));
  const budget = state.budget === null ? "" : ` of ${count.format(state.budget)}`;
  put(at("epoch-tokens"), count.format(state.epoch_tokens) + budget);
  if (!known) {
    known = true;
    at("chat").inert = at("chat").hidden = at("new").hidden = !state.chats;
    at("no-chat").hidden = state.chats;
    if (!state.chats && total.out === 0) showNothing();
    if (document.activeElement === document.body) at(state.chats ? "question" : "text").focus();
  }
  showHosts(state.hosts, state.shares);
  const down = state.hosts.every((host) => host.fault !== null);
  notice(down ? "No host can be used. Questions will fail until one is back." : spent(state));
}

/** What to do about an epoch whose budget goes to its end. */
function spent(state) {
  if (state.budget === null || 2 * state.epoch_tokens < state.budget) return "";
  const over = state.epoch_tokens >= state.budget;
  const share = over ? "The budget" : "Half of the budget";
  return `${share} of epoch ${state.epoch} is used up. Rekey the model and serve the new folder.`;
}

/** Two hosts compute on numbers that say nothing: there is no key, and nothing is used up. */
function showShares() {
  if (at("facts-of-key").hidden) return;
  for (const fact of document.querySelectorAll(".of-key")) fact.hidden = true;
  put(at("here"), "Embedding, attention and sampling run here; two hosts compute linear layers.");
  put(at("traffic-title"), "What each host sees");
  promise = SHARES_SEEN;
  put(at("seen"), promise);
  put(at("empty"), "Ask something. Your question stays here; each host gets uniform numbers.");
  put(at("about-shown"), SHARES_ABOUT);
  put(at("about-limits"), SHARES_LIMITS);
}

let shownHosts = "";

function showHosts(hosts, shares) {
  const news = JSON.stringify(hosts);
  if (news === shownHosts) return;
  shownHosts = news;
  if (shares) hosts = shares.map((url, place) => ({ ...hosts[0], url, name: "AB"[place] }));
  at("hosts").replaceChildren(
    ...hosts.map((host) => {
      const up = host.fault === null;
      const line = make("li", up ? "up" : "down");
      line.append(make("span", "state", up ? "Up" : "Down"), make("span", "code", host.url));
      if (host.name) {
        line.append(make("span", "quiet", SHARES_SENT[host.name]));
        if (!up) line.append(make("span", "fault", host.fault));
        return line;
      }
      const engine = host.engine ?? "engine not known yet";
      const epoch = host.epoch === null ? "" : `, epoch ${host.epoch}`;
      const sealed = host.sealed_to === null ? "not sealed" : `sealed to ${host.sealed_to}`;
      const running = host.running > 0 ? `, ${count.format(host.running)} running` : "";
      const wire = up ? `, on the wire ${sealed}` : "";
      line.append(make("span", "quiet", engine + epoch + wire + running));
      if (!up) line.append(make("span", "fault", host.fault));
      return line;
    }),
  );
}

function notice(text) {
  put(at("notice"), text);
  at("notice").hidden = text === "";
}

// ---- What leaves and comes back ----------------------------------------------------------------

const open = new Map();
const total = { out: 0, back: 0 };
let listener = new AbortController();
let promise = at("seen").textContent;

/** A gateway that shows no requests for embeddings must not look as if there were none. */
function showNothing() {
  put(at("seen"), NOT_SHOWN);
  at("silence").hidden = at("foot").hidden = true;
}

async function watchTraffic() {
  const follow = following(at("traffic"), at("exchanges"), at("newest"));
  for (;;) {
    await admitted();
    listener = new AbortController();
    try {
      const response = await ask("/traffic", null, listener.signal);
      put(at("listening"), "Live");
      for await (const event of events(response)) {
        showTraffic(event);
        follow();
      }
    } catch {
      // What is wrong is said where the state is asked for.
    }
    // A gateway that was started again counts from the beginning.
    open.clear();
    put(at("listening"), "Not connected");
    await (at("key-form").hidden ? wait(EVERY) : admitted());
  }
}

function showTraffic(event) {
  at("silence").hidden = true;
  at("foot").hidden = false;
  put(at("seen"), promise);
  if (event.lost) {
    const words = `${count.format(event.lost)} pieces are missing here: this page was too slow.`;
    at("exchanges").append(make("li", "exchange wrong", words));
    return;
  }
  const leaves = event.route !== null;
  if (leaves || !open.has(event.exchange)) begin(event);
  const exchange = open.get(event.exchange);
  const way = leaves ? exchange.out : exchange.back;
  way.bytes += event.bytes;
  total[leaves ? "out" : "back"] += event.bytes;
  put(way.count, inBytes(way.bytes));
  append(way, event.text);
  put(at("bytes-out"), inBytes(total.out));
  put(at("bytes-back"), inBytes(total.back));
}

/** A new block; the oldest goes if there are too many. */
function begin({ exchange, route }) {
  const block = make("li", "exchange");
  const name = nameOf(route);
  const ways = {
    out: direction("Left this machine", "out", "sent"),
    back: direction("Came back", "back", "came"),
  };
  const title = make("h3", "", name);
  title.append(make("time", "quiet", new Date().toLocaleTimeString("en-GB")));
  block.append(title);
  for (const way of [ways.out, ways.back]) block.append(way.head, way.text);
  at("exchanges").append(block);
  while (at("exchanges").children.length > KEPT_EXCHANGES) at("exchanges").firstChild.remove();
  open.set(exchange, ways);
  if (open.size > KEPT_EXCHANGES) open.delete(open.keys().next().value);
}

function nameOf(route) {
  if (route === null) return "Began before this page was open";
  return route.startsWith("host ") ? `H${route.slice(1)}` : `POST /${route}`;
}

function direction(name, kind, textKind) {
  const head = make("p", "way");
  const bytes = make("span", "quiet", inBytes(0));
  head.append(make("span", kind, name), bytes);
  return { head, text: make("div", `bytes ${textKind}`), count: bytes, bytes: 0, last: null };
}

/** One element an event, because a single long text is slow to lay out again and again. */
function append(way, text) {
  const parts = ((way.last?.textContent ?? "") + text).split(/(?<=\n\n)/);
  for (const part of parts) {
    way.last ??= way.text.appendChild(make("pre"));
    way.last.replaceChildren(...withIds(part));
    if (part.endsWith("\n\n")) way.last = null;
  }
}

/** The text as it is, with its lists of numbers set off from what is around them. */
const withIds = (text) =>
  text
    .split(/(\[\s*\d+(?:\s*,\s*\d+)*\s*\])/)
    .map((part, place) => (place % 2 ? make("span", "ids", part) : part));

const inBytes = (bytes) => `${count.format(bytes)} ${bytes === 1 ? "byte" : "bytes"}`;

/** Keeps the end in view, until the reader goes up; a button or going down resumes it. */
function following(pane, content, button) {
  let before = 0;
  const follow = (is) => {
    pane.classList.toggle("follows", is);
    if (button) button.hidden = is;
  };
  const look = () => {
    const below = pane.scrollHeight - pane.clientHeight - pane.scrollTop;
    if (pane.scrollTop < before && below > NEAR) follow(false);
    else if (below < NEAR) follow(true);
    before = pane.scrollTop;
  };
  const toEnd = () => {
    // The reader may have gone up since the last event of scrolling.
    look();
    if (!pane.classList.contains("follows")) return;
    pane.scrollTop = pane.scrollHeight;
    before = pane.scrollTop;
  };
  pane.addEventListener("scroll", look, { passive: true });
  button?.addEventListener("click", () => {
    follow(true);
    toEnd();
    pane.focus({ preventScroll: true });
  });
  const resized = new ResizeObserver(toEnd);
  resized.observe(content);
  resized.observe(pane);
  follow(true);
  return toEnd;
}

// ---- The conversation --------------------------------------------------------------------------

let conversation = [];
let running = null;

const followAnswer = following(at("log"), at("messages"), null);

function keys(event) {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    at("ask").requestSubmit();
  } else if (event.key === "Escape") stop();
}

function stop() {
  running?.abort();
}

function startOver() {
  stop();
  running = null;
  conversation = [];
  at("messages").replaceChildren();
  at("empty").hidden = false;
  progress("Ready");
  ready(true);
  at("question").focus();
}

async function send(event) {
  event.preventDefault();
  const text = at("question").value.trim();
  const settings = chosen();
  if (running || !text || !settings) return;
  at("question").value = "";
  at("question").focus();
  at("empty").hidden = true;
  const asked = message("yours", "You");
  asked.said.textContent = text;
  const answer = message("theirs", at("model").textContent);
  at("log").scrollTop = at("log").scrollHeight;

  const mine = new AbortController();
  running = mine;
  ready(false);
  const turn = [...conversation, { role: "user", content: text }];
  const body = {
    messages: turn,
    stream: true,
    stream_options: { include_usage: true },
    ...settings,
  };
  const clock = new Clock();
  const ended = await listen(body, mine.signal, answer, clock);
  // Another conversation was begun meanwhile.
  if (running !== mine) return;
  running = null;
  ready(true);
  progress("Ready");
  finish(answer, clock, ended);
  // What was not answered at all is not part of the conversation.
  if (!ended.reason && !answer.said.textContent) {
    if (!at("question").value) at("question").value = text;
  } else {
    conversation = [...turn, { role: "assistant", content: answer.said.textContent }];
  }
}

/** Reads an answer into its message; how it ended. */
async function listen(body, signal, answer, clock) {
  let reason = null;
  try {
    progress("Waiting for the first token…", true);
    for await (const event of events(await ask("/v1/chat/completions", body, signal))) {
      if (event.error) return { error: event.error.message };
      if (event.usage) clock.tokens = event.usage.completion_tokens;
      const choice = event.choices?.[0];
      reason = choice?.finish_reason ?? reason;
      if (choice && write(answer, choice.delta)) {
        clock.piece();
        progress(clock.running(), true);
        followAnswer();
      }
    }
    return reason ? { reason } : { error: "The answer ended early." };
  } catch (error) {
    return signal.aborted ? { stopped: true } : { error: error.message };
  }
}

/** Adds what a chunk brings; whether it brought anything. */
function write(answer, delta) {
  if (delta.reasoning_content) thought(answer).append(delta.reasoning_content);
  for (const call of delta.tool_calls ?? []) {
    called(answer, call.index ?? 0, call.function?.name).append(call.function?.arguments ?? "");
  }
  if (delta.content) answer.said.append(delta.content);
  return Boolean(delta.content || delta.reasoning_content || delta.tool_calls);
}

function message(kind, who) {
  const node = make("li", `message ${kind}`);
  const said = make("p", "said");
  const meta = make("p", "meta");
  node.append(make("h3", "", who), said);
  if (kind === "theirs") node.append(meta);
  at("messages").append(node);
  return { node, said, meta, thought: null, calls: new Map() };
}

function thought(answer) {
  if (!answer.thought) {
    const details = make("details", "thought");
    answer.thought = make("p");
    details.append(make("summary", "", "Reasoning"), answer.thought);
    answer.said.before(details);
  }
  return answer.thought;
}

function called(answer, index, name) {
  if (!answer.calls.has(index)) {
    const box = make("div", "call");
    const text = make("pre");
    box.append(make("p", "hint", `Wants to call ${name ?? "a tool"} with`), text);
    answer.meta.before(box);
    answer.calls.set(index, text);
  }
  return answer.calls.get(index);
}

function finish(answer, clock, ended) {
  const said = answer.said.textContent;
  const how = ended.error
    ? `Failed: ${ended.error}`
    : ended.stopped
      ? "Stopped"
      : ENDS[ended.reason];
  if (ended.error) answer.meta.classList.add("wrong");
  if (!said) answer.said.remove();
  answer.meta.textContent = [clock.finished(), how].filter(Boolean).join(" · ");
  const calls = [...answer.calls.values()].length ? " It wants to call a tool." : "";
  at("spoken").textContent = `Answer: ${said}${calls} ${how ?? ""}`;
  followAnswer();
}

/** The numbers of the settings; null if one of them makes no sense, which is then said. */
function chosen() {
  const settings = {};
  for (const [id, name] of [
    ["temperature", "temperature"],
    ["max-tokens", "max_tokens"],
  ]) {
    const field = at(id);
    if (!field.validity.valid) {
      at("settings").open = true;
      progress(`${field.labels[0].textContent}: ${field.validationMessage}`);
      field.focus();
      return null;
    }
    if (field.value !== "") settings[name] = field.valueAsNumber;
  }
  return settings;
}

function ready(is) {
  const focused = document.activeElement;
  at("send").disabled = !is;
  at("stop").disabled = is;
  if (focused === at("stop") || focused === at("send")) at("question").focus();
}

function progress(text, running = false) {
  put(at("progress"), text);
  at("progress").classList.toggle("running", running);
}

/** How fast an answer comes. The first token's wait does not count: it is the prompt's. */
class Clock {
  #asked = performance.now();
  #first = null;
  #last = null;
  #pieces = 0;
  tokens = null;

  piece() {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces += 1;
  }

  /** None while there is too little to tell: few tokens arrive in one go. */
  #rate(tokens) {
    const seconds = (this.#last - this.#first) / 1000;
    return seconds < LEAST_SECONDS ? null : `${((tokens - 1) / seconds).toFixed(0)} tokens/s`;
  }

  /** A piece is nearly always one token; how many they were is known at the end. */
  running() {
    const rate = this.#rate(this.#pieces);
    return rate === null ? "Answering" : `Answering: about ${rate}`;
  }

  finished() {
    if (this.#first === null) return "";
    const after = (moment) => `${((moment - this.#asked) / 1000).toFixed(2)} s`;
    const tokens = this.tokens === null ? "" : `${count.format(this.tokens)} tokens in `;
    const rate = this.#rate(this.tokens ?? this.#pieces);
    const about = this.tokens === null && rate !== null ? "about " : "";
    const first = `first token after ${after(this.#first)}`;
    return [tokens + after(this.#last), rate && about + rate, first].filter(Boolean).join(" · ");
  }
}

// ---- Models that do not chat -------------------------------------------------------------------

async function embed(event) {
  event.preventDefault();
  try {
    const answer = await (await ask("/v1/embeddings", { input: at("text").value })).json();
    const vector = answer.data[0].embedding;
    const length = Math.hypot(...vector);
    const first = vector
      .slice(0, SHOWN_NUMBERS)
      .map((value) => value.toFixed(4))
      .join("  ");
    const size = `${count.format(vector.length)} numbers of length ${length.toFixed(4)}`;
    at("embedding").textContent = `${size}, beginning with\n${first}`;
  } catch (error) {
    at("embedding").textContent = error.message;
  }
}

// ------------------------------------------------------------------------------------------------

const EVERY = 2000;
const KEPT_EXCHANGES = 20;
const NEAR = 48;
const LEAST_SECONDS = 0.5;
const SHOWN_NUMBERS = 8;
const KEPT = "Kept in this page's memory only.";
const NOT_SHOWN =
  "Requests for embeddings are not shown here. The host sees their token ids, encrypted; " +
  "their number, order, repetition and timing are visible.";
const SHARES_SENT = {
  A: "is sent vectors under masks",
  B: "is sent the masks’ seed, and which of them are next",
};
const SHARES_SEEN =
  "What passes in the first layer, for every pass of the model; all other layers look the same. " +
  "Each host alone sees uniform numbers, whatever the text is. Number of tokens and timing are visible.";
const SHARES_ABOUT =
  "Shown are the first numbers of each message of the first layer, modulo the first of two primes, " +
  "and its size in bytes, from all clients of this gateway, while this page is open.";
const SHARES_LIMITS =
  "If the two hosts put together what they see, they read everything. An answer that is wrong is " +
  "found out, and its host is named.";
const ENDS = { length: "Cut at max tokens", tool_calls: "Wants to call a tool" };

start();
