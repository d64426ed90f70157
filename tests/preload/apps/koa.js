'use strict';

const Koa = require('koa');

const app = new Koa();
app.use((ctx) => {
  ctx.body = { framework: 'koa' };
});
app.listen(process.env.PORT);
