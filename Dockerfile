# BuildKit, buildah and podman all build this. Nothing here needs a shell.
#
# `docker build .` is enough. The first stage then fetches the wheels by the hashed locks and writes the bill of
# materials. `make image` makes both on your machine, in build/, and then builds this without a network. The first stage
# takes what is in build/ if it was made from these sources. The image has the bill at /opt/ai-gateway/sbom.cdx.json.
#
# You can take any base that has a python3, 3.11 to 3.14; the wheels match it. To fetch wheels in the first stage, the
# base needs pip too. The default has it.
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
# Byte code of the base's standard library, if the base has none. Without it every start compiles what it loads.
COPY --from=build /build/bytecode /
COPY image/health.py /opt/ai-gateway/health.py
COPY --from=wheels /build/sbom.cdx.json /opt/ai-gateway/sbom.cdx.json
COPY LICENSE /opt/ai-gateway/LICENSE

# Mount a volume for the audit at /var/lib/ai-gateway, writable for user 65532. Without one you lose the audit with the
# container. The gateway listens on every address: the container's network decides who reaches it. Flags override these.
ENV PATH=/opt/ai-gateway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/ \
    XDG_STATE_HOME=/var/lib/ai-gateway \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AI_GATEWAY_LISTEN=:8080 \
    AI_GATEWAY_ADMIN=:9090
# The gateway looks for config.yml here.
WORKDIR /etc/ai-gateway
USER 65532:65532
EXPOSE 8080 9090
# Only Docker's image format keeps this. In Kubernetes the chart's probes do the work.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "/opt/ai-gateway/health.py"]
ENTRYPOINT ["ai-gateway"]
CMD ["serve"]
