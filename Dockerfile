# Two targets: `docker build --target cpu .` and `docker build --target gpu .`
# The GPU target needs a host with NVIDIA's container toolkit.
# An index besides PyPI (PyTorch's CPU builds) comes in with --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.11-slim-bookworm AS source
RUN apt-get update && apt-get install -y --no-install-recommends build-essential make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 tailorbird \
    && install -d -o tailorbird /srv/tailorbird /var/lib/tailorbird
USER tailorbird
WORKDIR /srv/tailorbird
COPY --chown=tailorbird . .
ENV TAILORBIRD_HOME=/var/lib/tailorbird TAILORBIRD_HOST=0.0.0.0 PYTHONUNBUFFERED=1
VOLUME /var/lib/tailorbird
EXPOSE 8000 7860
HEALTHCHECK --start-period=120s CMD ["/srv/tailorbird/.venv/bin/python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz')"]
CMD ["/srv/tailorbird/.venv/bin/tailorbird", "run"]

FROM source AS cpu
ARG PIP_EXTRA_INDEX_URL
RUN TAILORBIRD_BUILD=cpu ./install.sh .venv

FROM source AS gpu
RUN TAILORBIRD_BUILD=gpu ./install.sh .venv
