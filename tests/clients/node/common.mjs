// What the programs for Node share: the questions, what a right answer is, and one line for each thing that was tried.
// The words are those of programs/common.py.

export const SENTENCE = "the ferry waits for nobody";
export const SAY = `Repeat: ${SENTENCE}`;
export const THINK = `Please think, then repeat: ${SENTENCE}`;
export const WRONG_KEY = "wrong-secret-0123456789";
export const UNKNOWN_MODEL = "no-such-model-anywhere";
export const MOST_TOKENS = 4096;
export const TIMEOUT_MS = 20_000;

export const CALL_ONE = 'call get_weather {"city": "Bergen", "unit": "celsius"}';
export const CALL_TWO = `${CALL_ONE}\ncall get_tide {"harbour": "Oslo", "hours": [3, 15]}`;
export const RESULTS = { get_weather: "4 degrees and sleet", get_tide: "low water at 03:12" };

// A PNG of 3 × 2 points.
export const PICTURE_TYPE = "image/png";
export const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGNQcEiAIAY4CwArlASBeInziwAAAABJRU5ErkJggg==";

export const TOOLS = [
  {
    name: "get_weather",
    description: "Tells the weather of a city.",
    schema: {
      type: "object",
      properties: {
        city: { type: "string", description: "Where." },
        unit: { type: "string", enum: ["celsius", "fahrenheit"] },
      },
      required: ["city"],
    },
  },
  {
    name: "get_tide",
    description: "Tells the tides.",
    schema: {
      type: "object",
      properties: { harbour: { type: "string" }, hours: { type: "array", items: { type: "integer" } } },
      required: ["harbour"],
    },
  },
];

export const REPORT = {
  type: "object",
  properties: { harbour: { type: "string" }, metres: { type: "number" }, open: { type: "boolean" } },
  required: ["harbour", "metres", "open"],
  additionalProperties: false,
};

export function expect(condition, what, seen) {
  if (!condition) throw new Error(seen === undefined ? what : `${what}: ${JSON.stringify(seen)?.slice(0, 300)}`);
}

export function said(text, ...wanted) {
  for (const words of wanted.length ? wanted : [SENTENCE]) {
    expect((text ?? "").includes(words), `the answer holds ${JSON.stringify(words)}`, text);
  }
}

export function streamed(pieces) {
  const listed = pieces.filter(Boolean);
  said(listed.join(""));
  expect(listed.length > 1, "the answer comes in pieces", listed);
}

// `calls` are [id, name, arguments as text or as an object].
export function called(calls, both) {
  const expected = [["get_weather", { city: "Bergen", unit: "celsius" }]];
  if (both) expected.push(["get_tide", { harbour: "Oslo", hours: [3, 15] }]);
  const seen = calls.map(([, name, given]) => [name, typeof given === "string" ? JSON.parse(given) : given]);
  const sorted = (value) => JSON.stringify(value, Object.keys(Object.assign({}, ...value.map((call) => call[1]))).sort());
  expect(seen.length === expected.length, "as many calls", calls);
  seen.forEach((call, at) => {
    expect(call[0] === expected[at][0] && sorted([call]) === sorted([expected[at]]), "the calls of the prompt", calls);
  });
  const ids = calls.map(([id]) => id);
  expect(ids.every(Boolean) && new Set(ids).size === ids.length, "an id for each call", ids);
}

export function quoted(text) {
  said(text, ...Object.values(RESULTS));
}

export function fits(text) {
  const found = typeof text === "string" ? JSON.parse(text) : text;
  expect(typeof found.harbour === "string" && typeof found.metres === "number", "a report", found);
  expect(typeof found.open === "boolean" && Object.keys(found).length === 3, "a report", found);
}

export function counted(input, output, total) {
  expect(input > 0, "tokens of the prompt", input);
  expect(output > 0, "tokens of the answer", output);
  expect(total === undefined || total === input + output, "the total", [input, output, total]);
}

export async function raises(kind, status, work) {
  try {
    await work();
  } catch (error) {
    expect(error instanceof kind, `${kind.name} expected`, `${error?.constructor?.name}: ${error}`);
    expect(error.status === status, `status ${status}`, error.status);
    return;
  }
  throw new Error(`${kind.name} expected, and nothing was raised`);
}

export async function collect(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

// Takes `count` pieces and lets go of the rest.
export async function some(stream, count) {
  const found = [];
  for await (const item of stream) {
    found.push(item);
    if (found.length === count) break;
  }
  return found;
}

function target(given) {
  const model = (kind = "chat") => given.models[kind] || given.models.chat;
  const slow = { name: given.name, key: given.key, origin: given.slow_origin || given.origin, model: () => model("slow") };
  return { name: given.name, key: given.key, origin: given.origin, model, slow };
}

export async function run(features) {
  for (const given of JSON.parse(process.argv[2])) {
    for (const [feature, work] of Object.entries(features)) {
      let detail = "";
      try {
        await work(target(given));
      } catch (error) {
        detail = `${error?.constructor?.name}: ${error?.message ?? error}`;
      }
      detail = detail.split(/\s+/).join(" ").slice(0, 600);
      process.stdout.write(`${JSON.stringify({ target: given.name, feature, ok: !detail, detail })}\n`);
    }
  }
}
