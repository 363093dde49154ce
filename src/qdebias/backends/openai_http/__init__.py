"""Any OpenAI-compatible server as a backend: `openai:<url>#<model>`; what each server can do is in docs/servers.md."""
