# docker build -t bids_brainseg .
# Any Debian-like base will do; one that lacks Python gets Debian's.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

RUN command -v python3 >/dev/null || ( \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/* )
RUN python3 -m venv /opt/brainseg
ENV PATH=/opt/brainseg/bin:$PATH

# The dependencies first: a change in the code does not download TensorFlow again.
WORKDIR /src
COPY setup.cfg ./
RUN python -c "import configparser; c = configparser.ConfigParser(); c.read('setup.cfg'); \
      print(c['options']['install_requires'])" > requirements.txt \
    && pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

COPY . ./
ARG VERSION=
RUN if [ -n "$VERSION" ]; then export SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION"; fi \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && rm -rf build *.egg-info \
    && python -m compileall -q "$(python -c 'import bids_brainseg, os; print(os.path.dirname(bids_brainseg.__file__))')"

# Runs as any user, on a read-only root with a writable /tmp, and without a network.
ENV HOME=/tmp MPLBACKEND=agg MPLCONFIGDIR=/tmp NO_ET=1 TF_CPP_MIN_LOG_LEVEL=2 PYTHONDONTWRITEBYTECODE=1
WORKDIR /out
ENTRYPOINT ["bids_brainseg"]
