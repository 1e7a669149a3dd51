// The official SDK of OpenAI for Node: chat completions, and one turn of responses in "chat" and "stream".

import OpenAI from "openai";

import * as common from "./common.mjs";
import { expect } from "./common.mjs";

const TOOLS = common.TOOLS.map(({ name, description, schema }) => ({
  type: "function",
  function: { name, description, parameters: schema },
}));
const FORMAT = { type: "json_schema", json_schema: { name: "report", schema: common.REPORT, strict: true } };

const client = (target, key = target.key) =>
  new OpenAI({ baseURL: `${target.origin}/v1`, apiKey: key, maxRetries: 0, timeout: common.TIMEOUT_MS });

const turns = (content) => (Array.isArray(content) && content[0].role ? content : [{ role: "user", content }]);

function ask(target, content, { kind = "chat", ...options } = {}) {
  return client(target).chat.completions.create({ model: target.model(kind), messages: turns(content), ...options });
}

async function chunks(target, content, options = {}) {
  return common.collect(await ask(target, content, { ...options, stream: true }));
}

const textOf = (found) => found.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

const callsOf = (message) => (message.tool_calls ?? []).map((call) => [call.id, call.function.name, call.function.arguments]);

async function called(target, prompt, both) {
  const answer = await ask(target, prompt, { tools: TOOLS });
  common.called(callsOf(answer.choices[0].message), both);
  expect(answer.choices[0].finish_reason === "tool_calls", "finish_reason tool_calls", answer.choices[0].finish_reason);
  const runner = client(target).chat.completions.stream({
    model: target.model(),
    messages: turns(prompt),
    tools: TOOLS,
  });
  common.called(callsOf((await runner.finalChatCompletion()).choices[0].message), both);
}

await common.run({
  chat: async (target) => {
    const answer = await ask(target, common.SAY);
    common.said(answer.choices[0].message.content);
    expect(answer.choices[0].finish_reason === "stop", "finish_reason stop", answer.choices[0].finish_reason);
    const response = await client(target).responses.create({ model: target.model(), input: common.SAY });
    common.said(response.output_text);
  },
  stream: async (target) => {
    const found = await chunks(target, common.SAY);
    common.streamed(found.map((chunk) => chunk.choices[0]?.delta.content));
    const events = await common.collect(
      await client(target).responses.create({ model: target.model(), input: common.SAY, stream: true }),
    );
    common.streamed(events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta));
    expect(events.at(-1).type === "response.completed", "response.completed", events.at(-1));
  },
  tools: (target) => called(target, common.CALL_ONE, false),
  "parallel tools": (target) => called(target, common.CALL_TWO, true),
  "tool results": async (target) => {
    const message = (await ask(target, common.CALL_TWO, { tools: TOOLS })).choices[0].message;
    const results = callsOf(message).map(([id, name]) => ({
      role: "tool",
      tool_call_id: id,
      content: common.RESULTS[name],
    }));
    const answer = await ask(target, [{ role: "user", content: common.CALL_TWO }, message, ...results], { tools: TOOLS });
    common.quoted(answer.choices[0].message.content);
  },
  images: async (target) => {
    const url = `data:${common.PICTURE_TYPE};base64,${common.PICTURE}`;
    const content = [
      { type: "text", text: "What is this?" },
      { type: "image_url", image_url: { url } },
    ];
    const answer = await ask(target, content, { kind: "vision" });
    common.said(answer.choices[0].message.content, common.PICTURE_TYPE);
  },
  "JSON schema": async (target) => {
    common.fits((await ask(target, "Report.", { response_format: FORMAT })).choices[0].message.content);
    common.fits(textOf(await chunks(target, "Report.", { response_format: FORMAT })));
  },
  reasoning: async (target) => {
    const options = { kind: "reasoning", reasoning_effort: "high" };
    const message = (await ask(target, common.THINK, options)).choices[0].message;
    expect(message.reasoning_content, "reasoning_content", message);
    common.said(message.content);
    const found = await chunks(target, common.THINK, options);
    expect(found.some((chunk) => chunk.choices[0]?.delta.reasoning_content), "reasoning_content in the stream");
  },
  usage: async (target) => {
    const whole = (await ask(target, common.SAY)).usage;
    const last = (await chunks(target, common.SAY, { stream_options: { include_usage: true } })).at(-1).usage;
    for (const usage of [whole, last]) {
      common.counted(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens);
      expect(usage.prompt_tokens_details?.cached_tokens !== undefined, "cached_tokens", usage);
    }
  },
  error: async (target) => {
    const request = { model: target.model(), messages: turns(common.SAY) };
    await common.raises(OpenAI.AuthenticationError, 401, () =>
      client(target, common.WRONG_KEY).chat.completions.create(request),
    );
    await common.raises(OpenAI.NotFoundError, 404, () =>
      client(target).chat.completions.create({ ...request, model: common.UNKNOWN_MODEL }),
    );
    await common.raises(OpenAI.BadRequestError, 400, () =>
      client(target).chat.completions.create({ ...request, messages: [{ role: "nobody", content: common.SAY }] }),
    );
  },
  cancel: async (target) => {
    const found = await common.some(await ask(target.slow, common.SAY, { stream: true }), 3);
    expect(textOf(found), "the first pieces", found);
  },
});
