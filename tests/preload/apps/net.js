'use strict';

require('net').createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('data', (data) => socket.write(data));
  socket.on('end', () => socket.end('bye'));
}).listen(process.env.PORT);
