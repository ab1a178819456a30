'use strict'

const express = require('express')

const app = express()
const index = process.env.CF_INSTANCE_INDEX ?? 'none'

app.get('/', (req, res) => {
  res.type('text').send(`Hello from Express, instance ${index}\n`)
})

// Secrets stay out: only what the platform itself tells every app.
const shown = ['CF_INSTANCE_GUID', 'CF_INSTANCE_INDEX', 'CF_INSTANCE_IP', 'CF_INSTANCE_PORT', 'LANG', 'MEMORY_LIMIT',
  'NODE_ENV', 'PORT', 'VCAP_APPLICATION']

app.get('/env', (req, res) => {
  res.json(Object.fromEntries(shown.filter(name => name in process.env).map(name => [name, process.env[name]])))
})

app.get('/health', (req, res) => {
  res.type('text').send('ok\n')
})

const server = app.listen(process.env.PORT || 8080, err => {
  if (err) throw err
  console.log(`node-express, instance ${index}, listens on ${server.address().port}, Node ${process.version}`)
})

// The platform asks before it kills: requests that are under way get their answer.
process.on('SIGTERM', () => {
  console.log('node-express ends')
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
