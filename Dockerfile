# One image for `clerksync service`, `clerksync front` and `clerksync migrate`. docs/deployment.md tells how to run it.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The dependencies come first: a change of the code alone does not install them anew. Only wheels: nothing is compiled.
COPY requirements-build.lock requirements-sbom.lock requirements-image.lock ./
RUN python -m venv --without-pip /opt/clerksync \
 && python -m venv /opt/sbom \
 && python -m pip install --require-hashes --only-binary :all: --requirement requirements-build.lock \
 && /opt/sbom/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements-sbom.lock \
 && python -m pip --python /opt/clerksync/bin/python install --no-compile --require-hashes --only-binary :all: \
        --requirement requirements-image.lock
COPY pyproject.toml README.md ./
COPY server server
COPY clients/python clients/python
COPY migrations migrations
# Python cannot write bytecode into a read-only file system, so all of it is made here; "unchecked" because no source
# file will ever change under it.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/clerksync/bin/python install --no-compile --no-deps --no-index dist/*.whl \
 && /opt/clerksync/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/clerksync/lib
# What the image holds of Python, as CycloneDX, for scanners: docker run --rm --entrypoint cat IMAGE /opt/clerksync/sbom.cdx.json
RUN /opt/sbom/bin/cyclonedx-py environment --output-format JSON --output-reproducible \
        --output-file /opt/clerksync/sbom.cdx.json /opt/clerksync/bin/python


FROM python:${PYTHON_VERSION}-slim
# The user has a name because libraries ask for one; the home is a folder that does not exist. The base ships its
# standard library without bytecode and with an installer: the first would cost every start, the second has no use here. Nothing
# keeps its setuid or setgid bit, so no program of the base can make somebody more than they are.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin clerksync \
 && stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && python -m pip uninstall --yes --quiet --root-user-action ignore pip \
 && rm -rf "$stdlib/ensurepip" \
 && python -m compileall -q -j 0 -x '/(test|tests|lib2to3)/' --invalidation-mode unchecked-hash "$stdlib" \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/clerksync /opt/clerksync
ENV PATH="/opt/clerksync/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# What a flood made the process take is given back: fewer arenas to be half empty, and large blocks by themselves.
ENV MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=131072
USER 10001:10001
# SyncService, the webhook front, and the ops endpoint of either.
EXPOSE 50051 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["clerksync"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="clerksync" \
      org.opencontainers.image.description="Keeps users' organizations and memberships from Clerk in step in your own Postgres." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
