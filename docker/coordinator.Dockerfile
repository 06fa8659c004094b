# A coordinator. From the repository's root: docker build -f docker/coordinator.Dockerfile -t qgjob-coordinator:0.1.0 .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY client client
COPY agent agent
COPY coordinator coordinator
COPY proto proto
# The versions of the lock, of what this image needs alone.
RUN sed -n 's/^\([A-Za-z0-9][^\\]*\)\\$/\1/p' requirements.lock > versions.txt
RUN python -m venv /opt/qgjob
RUN PIP_CONSTRAINT=/src/versions.txt /opt/qgjob/bin/pip install --no-cache-dir --disable-pip-version-check '.[coordinator]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/qgjob qgjob
COPY --from=build /opt/qgjob /opt/qgjob
ENV PATH=/opt/qgjob/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/qgjob
USER 10001
EXPOSE 3000 50051
# Ready: the store is there too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 3000}/health/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["qgjob", "coordinator"]
