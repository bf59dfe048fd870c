# docker build -t bids_brainseg .                          for a CPU
# docker build -t bids_brainseg:gpu --target gpu .         with the CUDA libraries
# Any Debian-like base will do; one that lacks Python gets Debian's.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS python
RUN command -v python3 >/dev/null || ( \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/* )
RUN python3 -m venv /opt/brainseg
ENV PATH=/opt/brainseg/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The sources stay in a stage of their own: the images get the wheel alone.
FROM python AS wheel
WORKDIR /src
COPY . ./
RUN pip wheel --no-deps --wheel-dir /wheels . && sha256sum /wheels/* > /wheels.sha256

FROM python AS runtime
# That of setup.cfg; a test compares the two.
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title=bids_brainseg \
      org.opencontainers.image.description="Segments the T1w, FLAIR, DWI and CT scans of a BIDS dataset" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Runs as any user, on a read-only root with a writable /tmp, and without a network.
ENV HOME=/tmp MPLBACKEND=agg MPLCONFIGDIR=/tmp NO_ET=1 TF_CPP_MIN_LOG_LEVEL=2 PYTHONDONTWRITEBYTECODE=1 \
    BIDS_BRAINSEG_CONTAINER="bids_brainseg:${VERSION}"
WORKDIR /out
ENTRYPOINT ["bids_brainseg"]

# What the package needs comes first: a change in the code does not download TensorFlow again. podman does not see
# when the wheel that it mounts is another one; the copied checksum tells it to install that.
FROM runtime AS gpu
COPY setup.cfg container/install.py /build/
RUN python /build/install.py /build/setup.cfg gpu
COPY --from=wheel /wheels.sha256 /build/
COPY container/check.py /build/
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl && python /build/check.py

FROM runtime AS cpu
COPY setup.cfg container/install.py /build/
RUN python /build/install.py /build/setup.cfg cpu
COPY --from=wheel /wheels.sha256 /build/
COPY container/check.py /build/
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl && python /build/check.py
