# The three images, of binaries that `make images` has built and laid out under target/images/: nothing is compiled, downloaded or run
# here, so the same file serves docker, podman and buildah, with or without a registry, and another architecture needs no emulation.
#
#   make images        builds all three (and, where no BASE is given and no registry is used, the base)
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS common
# By number: `runAsNonRoot` cannot judge a name.
USER 65532:65532
WORKDIR /
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="edgeloop" \
      org.opencontainers.image.source="https://github.com/edgeloop/edgeloop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Agent, reaper and uninstaller. The DaemonSet runs it as root with NET_RAW alone (docs/decisions/agent-cluster.md).
FROM common AS edge-agent
LABEL org.opencontainers.image.title="edge-agent" \
      org.opencontainers.image.description="Labels its Kubernetes node by whether the gateway is reachable"
COPY edge-agent/ /
ENTRYPOINT ["/usr/local/bin/edgeloop-agent"]

# Also has `edgeloop models`, the store by hand.
FROM common AS edge-trainer
LABEL org.opencontainers.image.title="edge-trainer" \
      org.opencontainers.image.description="Turns a folder of images into a better YOLOv8 model, and publishes it"
COPY edge-trainer/ /
ENV IMAGES_DIR=/data/images MODEL_DIR=/data/models
ENTRYPOINT ["/usr/local/bin/edgeloop-trainer"]

FROM common AS edge-inference
LABEL org.opencontainers.image.title="edge-inference" \
      org.opencontainers.image.description="Serves the newest good model: POST /infer"
COPY edge-inference/ /
ENV IMAGES_DIR=/data/images MODEL_DIR=/data/models
EXPOSE 8080 8081
ENTRYPOINT ["/usr/local/bin/edgeloop-inferer"]
