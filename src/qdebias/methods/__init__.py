"""Methods beyond the paper's: its parts and those of its rivals, put together by naming them; see docs/methods.md."""
