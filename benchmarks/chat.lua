-- One small chat request, again and again; one line of figures at the end.
wrk.method = "POST"
wrk.body = '{"model":"chat","messages":[{"role":"system","content":"You are helpful."},{"role":"user","content":"Who are you? Answer in one sentence."}],"max_tokens":32,"temperature":0.7}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer none"

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d %d\n", latency:percentile(50), latency:percentile(99), latency.max,
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
