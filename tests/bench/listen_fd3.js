// Lets an unmodified app listen on fd 3 instead of its port; see shared_socket.js.
'use strict';

const net = require('node:net');

const { listen } = net.Server.prototype;
net.Server.prototype.listen = function listenOnFd3(_port, ...rest) {
  const callback = rest.find((argument) => typeof argument === 'function');
  return listen.call(this, { fd: 3 }, callback);
};
