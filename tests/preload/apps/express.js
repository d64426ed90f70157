'use strict';

const app = require('express')();

app.get('/', (req, res) => res.json({ framework: 'express' }));
app.listen(process.env.PORT, () => console.log('up'));
