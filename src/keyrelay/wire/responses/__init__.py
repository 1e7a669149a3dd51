"""The Responses dialect, as callers speak it: `POST /v1/responses`, and what Codex and Cursor make of it.

Nobody is called in this dialect, so every request is translated. The rules:

- `instructions` and the roles `system` and `developer` are system messages, where they stand. Messages,
  `function_call`, `custom_tool_call` and their outputs are turns; neighbouring items of the assistant are one turn.
- A `reasoning` item is a thought. `encrypted_content` that was written here comes back as the signature that it holds
  (`envelopes`), so that a client which keeps its own history keeps that, too; what OpenAI encrypted is for nobody else.
- Tools are functions, custom tools, those in a `namespace`, in `additional_tools`, what a tool search of the client's
  has found, and that search itself. A tool in a namespace is called `namespace__name`, and calls come back with both
  apart. Where a provider called a custom tool as a function, its text is the member `input` of the arguments.
- `text.format`, `reasoning`, `tool_choice`, `parallel_tool_calls`, `temperature`, `top_p`, `max_output_tokens`, `user`,
  `safety_identifier`, `service_tier`, `prompt_cache_key` and `prompt_cache_breakpoint` are what they are.
- Left out and named: tools that run at OpenAI (`web_search`, `file_search`, `mcp` …) and items about their calls,
  `text.verbosity`, `truncation: auto`, log probabilities, `moderation`, `context_management`, `reasoning.mode`.
- Refused (400), because what came of it would be no answer to the request: `background`, `conversation`, `prompt`,
  `compaction`, pictures by `file_id`, and calls of tools that OpenAI defines and clients run (`shell_call` …).
- `previous_response_id` and `item_reference` are put in place before this package sees them
  (`engine.stored_responses`).
- A picture in an answer is an `image_generation_call`, which is a picture again when it comes back in `input`; a note
  in the text stands for a sound, a file, and a picture elsewhere, which is linked.
- Answers give back the request's settings; `metadata`, `max_tool_calls` and `store` are nothing but given back.
"""
