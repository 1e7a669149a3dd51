// The official SDK of Anthropic for Node: messages.

import Anthropic from "@anthropic-ai/sdk";

import * as common from "./common.mjs";
import { expect } from "./common.mjs";

const TOOLS = common.TOOLS.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
const FORMAT = { format: { type: "json_schema", schema: common.REPORT } };

const client = (target, key = target.key) =>
  new Anthropic({ baseURL: target.origin, apiKey: key, maxRetries: 0, timeout: common.TIMEOUT_MS });

function request(target, content, { kind = "chat", ...options } = {}) {
  const messages = Array.isArray(content) && content[0].role ? content : [{ role: "user", content }];
  return { model: target.model(kind), max_tokens: common.MOST_TOKENS, messages, ...options };
}

const ask = (target, content, options) => client(target).messages.create(request(target, content, options));
const final = (target, content, options) => client(target).messages.stream(request(target, content, options)).finalMessage();
const blocks = (message, type) => message.content.filter((block) => block.type === type);
const textOf = (message) => blocks(message, "text").map((block) => block.text).join("");
const callsOf = (message) => blocks(message, "tool_use").map((block) => [block.id, block.name, block.input]);

async function called(target, prompt, both) {
  for (const way of [ask, final]) {
    const message = await way(target, prompt, { tools: TOOLS });
    common.called(callsOf(message), both);
    expect(message.stop_reason === "tool_use", "stop_reason tool_use", message.stop_reason);
  }
}

await common.run({
  chat: async (target) => {
    const message = await ask(target, common.SAY, { system: "Be brief." });
    common.said(textOf(message));
    expect(message.stop_reason === "end_turn", "stop_reason end_turn", message.stop_reason);
    const counted = await client(target).messages.countTokens({
      model: target.model(),
      messages: [{ role: "user", content: common.SAY }],
    });
    expect(counted.input_tokens > 0, "countTokens", counted);
  },
  stream: async (target) => {
    const events = await common.collect(await ask(target, common.SAY, { stream: true }));
    common.streamed(events.filter((event) => event.type === "content_block_delta").map((event) => event.delta.text));
    expect(events[0].type === "message_start" && events.at(-1).type === "message_stop", "start and stop", events);
    common.said(textOf(await final(target, common.SAY)));
  },
  tools: (target) => called(target, common.CALL_ONE, false),
  "parallel tools": (target) => called(target, common.CALL_TWO, true),
  "tool results": async (target) => {
    const message = await ask(target, common.CALL_TWO, { tools: TOOLS });
    const results = callsOf(message).map(([id, name]) => ({
      type: "tool_result",
      tool_use_id: id,
      content: common.RESULTS[name],
    }));
    const turns = [
      { role: "user", content: common.CALL_TWO },
      { role: "assistant", content: message.content },
      { role: "user", content: results },
    ];
    common.quoted(textOf(await ask(target, turns, { tools: TOOLS })));
  },
  images: async (target) => {
    const source = { type: "base64", media_type: common.PICTURE_TYPE, data: common.PICTURE };
    const content = [
      { type: "image", source },
      { type: "text", text: "What is this?" },
    ];
    common.said(textOf(await ask(target, content, { kind: "vision" })), common.PICTURE_TYPE);
  },
  "JSON schema": async (target) => {
    common.fits(textOf(await ask(target, "Report.", { output_config: FORMAT })));
    common.fits(textOf(await final(target, "Report.", { output_config: FORMAT })));
  },
  reasoning: async (target) => {
    const options = { kind: "reasoning", thinking: { type: "enabled", budget_tokens: 2048 } };
    const message = await ask(target, common.THINK, options);
    for (const found of [message, await final(target, common.THINK, options)]) {
      expect(blocks(found, "thinking")[0]?.thinking, "a thinking block", found.content);
      common.said(textOf(found));
    }
    const turns = [
      { role: "user", content: common.THINK },
      { role: "assistant", content: message.content },
      { role: "user", content: common.SAY },
    ];
    common.said(textOf(await ask(target, turns, options)));
  },
  usage: async (target) => {
    for (const way of [ask, final]) {
      const { usage } = await way(target, common.SAY);
      common.counted(usage.input_tokens, usage.output_tokens);
      expect(usage.cache_read_input_tokens !== undefined, "cache_read_input_tokens", usage);
    }
  },
  error: async (target) => {
    await common.raises(Anthropic.AuthenticationError, 401, () =>
      client(target, common.WRONG_KEY).messages.create(request(target, common.SAY)),
    );
    await common.raises(Anthropic.NotFoundError, 404, () =>
      client(target).messages.create({ ...request(target, common.SAY), model: common.UNKNOWN_MODEL }),
    );
    await common.raises(Anthropic.BadRequestError, 400, () => ask(target, common.SAY, { stop_sequences: "stop" }));
  },
  cancel: async (target) => {
    const events = await common.some(await ask(target.slow, common.SAY, { stream: true }), 5);
    expect(events.some((event) => event.delta?.text), "the first pieces", events);
  },
});
