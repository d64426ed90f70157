'use strict';

const app = require('fastify')();

app.get('/', async () => ({ framework: 'fastify' }));
app.listen({ port: Number(process.env.PORT), host: '0.0.0.0' }).then((where) => console.log(where));
