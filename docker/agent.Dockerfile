# An agent. From the repository's root: docker build -f docker/agent.Dockerfile -t qgjob-agent:0.1.0 .
#
# It has what simulated devices need. For others build on it: adb, node and what the tests need, as root, then USER 10001 again.
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
RUN PIP_CONSTRAINT=/src/versions.txt /opt/qgjob/bin/pip install --no-cache-dir --disable-pip-version-check '.[agent]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/qgjob qgjob
COPY --from=build /opt/qgjob /opt/qgjob
ENV PATH=/opt/qgjob/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/qgjob
USER 10001
# A problem is an agent that runs and has no session, a full disk, a program that is gone.
HEALTHCHECK --interval=30s --timeout=25s --start-period=30s --retries=3 CMD ["qgjob", "agent", "doctor", "-o", "json"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["qgjob", "agent", "start"]
