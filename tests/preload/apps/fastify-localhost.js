// Without a host fastify binds 127.0.0.1, and ::1 with a second server.
'use strict';

const app = require('fastify')();

app.get('/', async () => ({ framework: 'fastify' }));
app.listen({ port: Number(process.env.PORT) }).then((where) => console.log(where));
