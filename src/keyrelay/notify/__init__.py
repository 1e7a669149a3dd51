"""Delivery of messages on alerts: webhooks, chats, e-mail. What is sent holds no secret, and no prompt or answer."""
