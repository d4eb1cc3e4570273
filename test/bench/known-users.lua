-- This script makes wrk draw a known user at random for every request. All requests are built before the first is sent.
local requests = {}

function init()
  math.randomseed(os.time())
  local headers = {
    ["Content-Type"] = os.getenv("BENCH_CONTENT_TYPE"),
    ["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN"),
  }
  for user = 1, tonumber(os.getenv("BENCH_USERS")) do
    local body = os.getenv("BENCH_BODY"):gsub("$user", "user_" .. user)
    requests[user] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
