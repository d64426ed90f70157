-- For wrk: requests as a load balancer passes them on, each with a trace of its own.
local head = "GET / HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 203.0.113.9\r\n" ..
  "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nUser-Agent: curl/8.5.0\r\n" ..
  "Accept: */*\r\nAccept-Encoding: gzip, br\r\nX-Amzn-Trace-Id: Root=1-67891233-abcdef0123456789"

request = function()
  return head .. string.format("%08x", math.random(0, 2 ^ 31 - 1) * 2) .. "\r\n\r\n"
end
