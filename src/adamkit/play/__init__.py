"""Play: a page whose every slider answers with real training.

The server trains what the page asks for and knows nothing of charts; the page draws, and knows nothing of Keras.
Starlette and Uvicorn (extra `play`) are imported when a server starts.
"""
