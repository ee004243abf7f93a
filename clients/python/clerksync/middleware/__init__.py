"""On each authenticated request: keeps the caller's profile in step, and hands it to the handlers.

One module for each framework, which imports that framework; this package imports none.

- `asgi`: FastAPI, Starlette, Litestar. `fastapi`: the same as a dependency, for those who authenticate in dependencies.
- `aiohttp`, `grpc_aio`.
- `django`, `flask`: for threads. `rest_framework`: a permission, because Django REST framework authenticates in views.

It goes after authentication, and asks nobody unless there are a user and an active organization. SyncService being
slow, away or broken never fails a request, nor delays it by more than the budget; see `clerksync.policy`.
"""
