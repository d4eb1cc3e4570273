# Runs server/start.js as it stands: there is no build step for the server.
FROM node:24-slim AS base
WORKDIR /app
COPY package.json package-lock.json ./

# The image has Node 24 already: the optional packages that bring it along stay out.
FROM base AS production-modules
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM base AS test
RUN apt-get update \
  && apt-get install -y --no-install-recommends chromium curl postgresql procps r-base-core redis-server zsh \
  && rm -rf /var/lib/apt/lists/*
RUN npm ci --no-audit --no-fund
COPY . .
CMD ["npm", "test"]

FROM node:24-slim AS platform
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8000
WORKDIR /app
COPY --from=production-modules /app/node_modules ./node_modules
COPY package.json openapi.json ./
COPY server ./server
# Where the embedded database goes unless DATABASE_URL says otherwise.
RUN mkdir data && chown node:node data
USER node
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "server/start.js"]
