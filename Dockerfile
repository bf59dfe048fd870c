# docker build -t bids_brainseg .
# Any Debian-like base will do; one that lacks Python gets Debian's.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS python
RUN command -v python3 >/dev/null || ( \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/* )
RUN python3 -m venv /opt/brainseg
ENV PATH=/opt/brainseg/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The sources stay in a stage of their own: the image gets the installed package alone.
FROM python AS package
WORKDIR /src
COPY . ./
RUN pip install --no-deps .

FROM python
# The dependencies first: a change in the code does not download TensorFlow again. Extras of setup.cfg, by name;
# with `gpu`, the CUDA libraries. TensorFlow's C++ headers (0.4 GB) serve nobody here.
ARG EXTRAS=validation
COPY setup.cfg /opt/brainseg/
RUN python -c "import configparser; c = configparser.ConfigParser(); c.read('/opt/brainseg/setup.cfg'); \
      print(c['options']['install_requires'], *(c['options.extras_require'][e] for e in '$EXTRAS'.split()))" \
      > /opt/brainseg/requirements.txt \
    && pip install -r /opt/brainseg/requirements.txt \
    && rm -rf /opt/brainseg/requirements.txt /opt/brainseg/lib/python3*/site-packages/tensorflow/include
COPY --from=package /opt/brainseg /opt/brainseg

# That of setup.cfg; a test compares the two.
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title=bids_brainseg \
      org.opencontainers.image.description="Segments the T1w, FLAIR, DWI and CT scans of a BIDS dataset" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version="$VERSION"
# Runs as any user, on a read-only root with a writable /tmp, and without a network.
ENV HOME=/tmp MPLBACKEND=agg MPLCONFIGDIR=/tmp NO_ET=1 TF_CPP_MIN_LOG_LEVEL=2 PYTHONDONTWRITEBYTECODE=1 \
    BIDS_BRAINSEG_CONTAINER="bids_brainseg:${VERSION}"
WORKDIR /out
ENTRYPOINT ["bids_brainseg"]
