-- What each thread of wrk sends, and the one line that it prints at the end.
--
-- The runner puts a table in front of this: settings.keys, the number of keys, and
-- settings.patterns, a list of {prefix, between, suffix, count, is_base64} that are
-- sent in turn. See requests.py for what they are.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

-- A prime that divides no number of keys used here: all keys have their turn, and
-- neighbours have it at different times.
local STRIDE = 7919

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(three)
   local a, b, c = string.byte(three, 1, 3)
   local bits = a * 65536 + b * 256 + c
   local text = ""
   for power = 3, 0, -1 do
      local place = math.floor(bits / 64 ^ power) % 64 + 1
      text = text .. string.sub(alphabet, place, place)
   end
   return text
end

-- Three letters of a key at a time, as they are and in base64.
local parts = {[false] = {}, [true] = {}}
local beginnings = {[false] = "key", [true] = base64("key")}

for number = 0, 999 do
   local digits = string.format("%03d", number)
   parts[false][number] = digits
   parts[true][number] = base64(digits)
end

local function key(number, is_base64)
   local part = parts[is_base64]
   local low = number % 1000
   local rest = (number - low) / 1000
   local middle = rest % 1000
   return beginnings[is_base64] .. part[(rest - middle) / 1000] .. part[middle]
      .. part[low]
end

local calls, next_number = 0, 0

function init(arguments)
   next_number = (number * 500009) % settings.keys
end

function request()
   local pattern = settings.patterns[calls % #settings.patterns + 1]
   calls = calls + 1
   next_number = (next_number + STRIDE) % settings.keys
   if pattern.count == 1 then
      return pattern.prefix .. key(next_number, pattern.is_base64) .. pattern.suffix
   end
   local names = {}
   for each = 1, pattern.count do
      names[each] = key((next_number + each) % settings.keys, pattern.is_base64)
   end
   return pattern.prefix .. table.concat(names, pattern.between) .. pattern.suffix
end

function done(summary, latency, requests)
   local errors = summary.errors
   local socket_errors = errors.connect + errors.read + errors.write
   io.write(string.format(
      'figures {"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, '
      .. '"max_us": %d, "bad": %d, "socket_errors": %d, "timeouts": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50),
      latency:percentile(99), latency.max, errors.status, socket_errors,
      errors.timeout))
end
