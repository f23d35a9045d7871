-- Commits, one after the other, as `folding.fold` does them: a refused one costs its neighbours nothing.
-- Scripts do not roll back, so all is read and decided before the first write.
--
-- A stream's name stands in `order` too, from its first event on, as NUL NUL name.
--
-- KEYS: item, place, order, seq, done, log, number, then every stream that an event goes to.
-- ARGV: the prefix of streams, how many commit ids are kept and for how many ms, then the commits,
--   each in msgpack: [id, [key, version, …], [key, value or false, …], [key, delta, floor, …],
--   [[key, index, sort or false, …], …], [stream, event, …]].
-- Answer: UTC ms of this server, then for each commit in msgpack one of [0, stream, seq, …],
--   [1, key, version] (Conflict), [2, key, value] (BelowFloor), [3, text] (ValueError).

local item, place, order, seq, done, log, last = unpack(KEYS, 1, 7)
local prefix, ids_kept, id_kept_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local COUNTER_LIMIT = 9007199254740992
local AT_ONCE = 4000 -- of a Lua stack of 8,000

local function fetch(key, wanted) -- {field: value or false}
  local found = {}
  for from = 1, #wanted, AT_ONCE do
    local to = math.min(from + AT_ONCE - 1, #wanted)
    local values = redis.call('HMGET', key, unpack(wanted, from, to))
    for i = from, to do found[wanted[i]] = values[i - from + 1] end
  end
  return found
end

local function send(command, key, arguments)
  for from = 1, #arguments, AT_ONCE do
    redis.call(command, key, unpack(arguments, from, math.min(from + AT_ONCE - 1, #arguments)))
  end
end

local function version_of(raw) return raw and struct.unpack('>I8', raw) or 0 end

-- what the batch needs to know

local commits, ids, keys, streams, wanted, spoken = {}, {}, {}, {}, 0, 0
for i = 4, #ARGV do
  local commit = cmsgpack.unpack(ARGV[i])
  commits[i - 3], ids[i - 3] = commit, commit[1]
  local reads, adds, tells = commit[2], commit[4], commit[6]
  for j = 1, #reads, 2 do wanted = wanted + 1; keys[wanted] = reads[j] end
  for j = 1, #adds, 3 do wanted = wanted + 1; keys[wanted] = adds[j] end
  for j = 1, #tells, 2 do spoken = spoken + 1; streams[spoken] = tells[j] end
end
local answers, items, seqs = fetch(done, ids), fetch(item, keys), fetch(seq, streams)
local time = redis.call('TIME')
local now_ms = math.floor(time[1] * 1000 + time[2] / 1000)
-- Above every number given out, also by a primary whose last commits were lost with it.
local number = math.max(tonumber(redis.call('GET', last) or 0), time[1] * 1000000 + time[2])
local first = number

-- each commit decided in turn

local function check(commit) -- a refusal, or nil and the counters
  local reads, adds, counters = commit[2], commit[4], {}
  for j = 1, #reads, 2 do
    local current = version_of(items[reads[j]])
    if current ~= reads[j + 1] then return {1, reads[j], current} end
  end
  for j = 1, #adds, 3 do
    local key, raw = adds[j], items[adds[j]]
    local text = raw and raw:sub(9) or '0'
    local value = text:match('^%-?%d+$') and tonumber(text)
    if not value then return {3, 'counter ' .. key .. ' holds no number'} end
    local sum = value + adds[j + 1]
    if sum < adds[j + 2] then return {2, key, value} end
    if math.abs(sum) > COUNTER_LIMIT then return {3, 'counter ' .. key .. ' would pass 2^53'} end
    counters[j] = string.format('%.0f', sum)
  end
  return nil, counters
end

local changed, places, moved, movers, events, happened, told = {}, {}, {}, 0, {}, 0, {}
local began, done_ids, done_answers, repeated = {}, {}, {}, false

local function apply(commit, counters)
  number = number + 1
  local version = struct.pack('>I8', number)
  local writes, adds, index, tells = commit[3], commit[4], commit[5], commit[6]
  for j = 1, #writes, 2 do
    local key, value = writes[j], writes[j + 1]
    items[key] = value and version .. value
    changed[key] = true
  end
  for j = 1, #adds, 3 do
    items[adds[j]] = version .. counters[j]
    changed[adds[j]] = true
  end
  for _, move in ipairs(index) do
    local key = move[1]
    local at = places[key]
    if not at then
      at = {}
      places[key] = at
      movers = movers + 1
      moved[movers] = key
    end
    for j = 2, #move, 2 do at[move[j]] = move[j + 1] end
  end
  local answer, at = {0}, {}
  for j = 1, #tells, 2 do
    local stream = tells[j]
    if not seqs[stream] then began[#began + 1] = stream end
    local next_seq = (seqs[stream] or 0) + 1
    seqs[stream], told[stream] = next_seq, next_seq
    happened = happened + 1
    events[happened] = {stream, next_seq, tells[j + 1]}
    if not at[stream] then
      at[stream] = #answer + 1
      answer[#answer + 1] = stream
      answer[#answer + 1] = next_seq
    end
    answer[at[stream] + 1] = next_seq
  end
  return cmsgpack.pack(answer)
end

local outcomes = {now_ms}
for i, commit in ipairs(commits) do
  local answer = answers[commit[1]]
  if answer then
    repeated = true
  else
    local refusal, counters = check(commit)
    if refusal then
      answer = cmsgpack.pack(refusal)
    else
      answer = apply(commit, counters)
      answers[commit[1]] = answer
      done_ids[#done_ids + 1], done_answers[#done_answers + 1] = commit[1], answer
    end
  end
  outcomes[i + 1] = answer
end

-- where keys stood before, the last thing that is read

local stood = fetch(place, moved)
local put, gone, added, removed, stand, nowhere = {}, {}, {}, {}, {}, {}
local puts, adding, stands = 0, 0, 0
for _, key in ipairs(moved) do
  local standing = stood[key] and cmsgpack.unpack(stood[key]) or {}
  local behind = '\0' .. key
  for index, sort in pairs(places[key]) do
    local before = standing[index]
    if before ~= (sort or nil) then
      if before then removed[#removed + 1] = index .. '\0' .. before .. behind end
      if sort then
        added[adding + 1], added[adding + 2] = 0, index .. '\0' .. sort .. behind
        adding = adding + 2
      end
      standing[index] = sort or nil
    end
  end
  if next(standing) then
    stand[stands + 1], stand[stands + 2] = key, cmsgpack.pack(standing)
    stands = stands + 2
  else
    nowhere[#nowhere + 1] = key
  end
end
for _, stream in ipairs(began) do
  added[adding + 1], added[adding + 2] = 0, '\0\0' .. stream
  adding = adding + 2
end
for key in pairs(changed) do
  if items[key] then
    put[puts + 1], put[puts + 2] = key, items[key]
    puts = puts + 2
  else
    gone[#gone + 1] = key
  end
end

-- all is decided: the writes, of which none can fail by itself

if number == first then
  -- Whoever waits for replicas needs a write behind that of the commit which is answered again.
  if repeated then redis.call('SET', last, redis.call('GET', last) or '0') end
  return outcomes
end
redis.call('SET', last, string.format('%.0f', number))
send('HSET', item, put)
send('HDEL', item, gone)
send('ZREM', order, removed)
send('ZADD', order, added)
send('HSET', place, stand)
send('HDEL', place, nowhere)
local last_seqs = {}
for stream, n in pairs(told) do
  last_seqs[#last_seqs + 1] = stream
  last_seqs[#last_seqs + 1] = n
end
send('HSET', seq, last_seqs)
for _, event in ipairs(events) do
  redis.call('XADD', prefix .. event[1], '0-' .. event[2], 'e', event[3])
end
local remembered, logged = {}, {}
for i, id in ipairs(done_ids) do
  remembered[2 * i - 1], remembered[2 * i] = id, done_answers[i]
  logged[i] = string.format('%.0f ', now_ms) .. id
end
send('HSET', done, remembered)
send('RPUSH', log, logged)

-- twice as many ids may be forgotten as were added, so the log shrinks to its bound

local excess = redis.call('LLEN', log) - ids_kept
local forgotten = {}
for i, entry in ipairs(redis.call('LRANGE', log, 0, math.min(2 * #done_ids, AT_ONCE) - 1)) do
  local at_ms, id = entry:match('^(%d+) (.*)$')
  if i > excess and now_ms - at_ms <= id_kept_ms then break end
  forgotten[i] = id
end
if #forgotten > 0 then
  redis.call('LPOP', log, #forgotten)
  send('HDEL', done, forgotten)
end
return outcomes
