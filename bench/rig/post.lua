-- Posts one body over and over and checks every answer. Arguments: body file, expected length of an answer,
-- client secret, pause between two requests of a connection in milliseconds (0 for none).
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    local file = assert(io.open(args[1], "rb"))
    local body = file:read("*a")
    file:close()
    expected = tonumber(args[2])
    pause_ms = tonumber(args[4])
    message = wrk.format("POST", nil, {
        ["Authorization"] = "Bearer " .. args[3],
        ["Content-Type"] = "application/json",
    }, body)
    sent, refused, wrong = 0, 0, 0
    if pause_ms > 0 then
        -- Uniform between nothing and twice the pause, so that the connections do not march in step.
        delay = function() return math.random(0, 2 * pause_ms) end
    end
end

function request()
    sent = sent + 1
    return message
end

function response(status, headers, body)
    if status ~= 200 then
        refused = refused + 1
    elseif #body ~= expected then
        wrong = wrong + 1
    end
end

function done(summary, latency, requests)
    local sum = { sent = 0, refused = 0, wrong = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(sum) do
            sum[name] = sum[name] + thread:get(name)
        end
    end
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"answered":%d,"sent":%d,"refused":%d,"wrong":%d,"socket_errors":%d,"timeouts":%d,'
            .. '"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
        summary.requests, sum.sent, sum.refused, sum.wrong, errors.connect + errors.read + errors.write,
        errors.timeout, summary.duration, latency:percentile(50), latency:percentile(99)))
end
