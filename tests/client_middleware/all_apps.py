"""All sample applications."""

from client_middleware import asyncio_apps, django_apps, threaded_apps
from client_middleware.sample_apps import SampleApp

SAMPLES: list[type[SampleApp]] = [
    asyncio_apps.Starlette,
    asyncio_apps.FastAPI,
    asyncio_apps.FastAPIDependency,
    asyncio_apps.Litestar,
    asyncio_apps.Aiohttp,
    asyncio_apps.Grpc,
    asyncio_apps.GrpcThreaded,
    django_apps.Django,
    django_apps.DjangoAsync,
    django_apps.DjangoRest,
    django_apps.DjangoTwice,
    django_apps.DjangoRestWithoutMiddleware,
    threaded_apps.Flask,
    threaded_apps.FlaskDecorator,
]
