-- wrk: PUT of 1 KiB to the given path plus a number, over a thousand keys.
local serial = 0
local path

wrk.method = "PUT"
wrk.body = string.rep("x", 1024)

function init()
  path = wrk.path
end

function request()
  serial = serial + 1
  return wrk.format(nil, path .. (serial % 1000))
end
