# Built alike by BuildKit, buildah and podman. Nothing here needs a shell.
#
# `docker build .` is enough: the first stage fetches the wheels by the hashed locks and writes the bill of materials.
# `make image` fills build/ with both on your machine and then builds this without a network; the first stage takes
# them, if they were made from these sources. The bill lies in the image at /opt/ai-gateway/sbom.cdx.json.
#
# A base is any image with a python3, 3.11 to 3.14, wherever it lies; the wheels are those for it. To fetch them here it
# needs pip too, as the default has.
ARG BASE=python:3.13-slim

FROM ${BASE} AS wheels
WORKDIR /build/context
COPY . .
RUN ["python3", "-B", "-m", "tools.image.stage", "/build"]

FROM ${BASE} AS build
COPY --from=wheels /build/wheels /build/wheels
COPY image/install.py /build/install.py
RUN ["python3", "-B", "/build/install.py", "/build/wheels", "/build/bytecode"]

FROM ${BASE}
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="AI Gateway Ollama" \
      org.opencontainers.image.description="One OpenAI-style API in front of a fleet of Ollama pods: balanced, queued and streamed." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/ai-gateway /opt/ai-gateway
# Of the base's standard library, where the base has none: without it every start compiles what it loads.
COPY --from=build /build/bytecode /
COPY image/health.py /opt/ai-gateway/health.py
COPY --from=wheels /build/sbom.cdx.json /opt/ai-gateway/sbom.cdx.json
COPY LICENSE /opt/ai-gateway/LICENSE

# The audit wants a volume at /var/lib/ai-gateway that user 65532 can write to; without one it is kept nowhere.
# Every address, not loopback: what may reach a container is its network's business. A flag goes before these.
ENV PATH=/opt/ai-gateway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/ \
    XDG_STATE_HOME=/var/lib/ai-gateway \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AI_GATEWAY_LISTEN=:8080 \
    AI_GATEWAY_ADMIN=:9090
# Where config.yml is looked for.
WORKDIR /etc/ai-gateway
USER 65532:65532
EXPOSE 8080 9090
# Kept by Docker's image format alone; Kubernetes has the chart's probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "/opt/ai-gateway/health.py"]
ENTRYPOINT ["ai-gateway"]
CMD ["serve"]
