"""Any OpenAI-compatible server as a backend: `openai:<url>#<model>`; what each server can do is in docs/servers.md.

- `connection`: how the server is talked to: retries, the key, errors in one line
- `chat`: what is sent, and what is read from the reply
- `servers`: what differs between servers, which one it is, and which model it serves
- `prompt`: the proof that the server asks what was requested
- `backend`: all of it as a `Backend`
"""
