-- This script makes wrk send new users for BENCH_SECONDS, and then wait until every one of them is answered.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long micros; } timeval;
  int gettimeofday(timeval *, void *);
]]
local clock = ffi.new("timeval")
local FOREVER_MS = 1e6
local WITH_A_VARIANT = '"variant_id":'
local headers = {
  ["Content-Type"] = "application/json",
  ["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN"),
}
local user = 0
local body = '{"user_id":"' .. os.getenv("BENCH_PREFIX") .. '%d","experiment_ids":'
  .. os.getenv("BENCH_EXPERIMENTS") .. ',"attributes":{}}'
local threads = {}
started, last, answered = 0, 0, 0

local function now()
  ffi.C.gettimeofday(clock, nil)
  return tonumber(clock.seconds) + tonumber(clock.micros) / 1e6
end

function setup(thread)
  threads[#threads + 1] = thread
end

function request()
  if started == 0 then started = now() end
  user = user + 1
  return wrk.format("POST", nil, headers, string.format(body, user))
end

function delay()
  if started > 0 and now() - started > tonumber(os.getenv("BENCH_SECONDS")) then return FOREVER_MS end
  return 0
end

function response(status, _, content)
  if status ~= 200 or not content:find(WITH_A_VARIANT, 1, true) then return end
  answered = answered + 1
  last = now()
end

function done(summary, latency)
  local answered, seconds = threads[1]:get("answered"), threads[1]:get("last") - threads[1]:get("started")
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%f,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n',
    answered, seconds, summary.requests - answered + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
