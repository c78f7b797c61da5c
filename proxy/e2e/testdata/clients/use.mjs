import { Client } from './client.mjs'

const api = new Client(process.env.SIGNALPOST_SERVER, process.env.SIGNALPOST_TOKEN)
console.log('posting') // nobody listens yet
const key = { 'Idempotency-Key': 'row-1' }
const first = await api.postSignals(key, { signal_type: 'lead', name: 'Grüße' })
const again = await api.postSignals(key, { signal_type: 'lead', name: 'Grüße' })
console.log('once', first.id === again.id, (await api.getSignals()).signals.length)
for await (const entry of api.getLogLines({ follow: true, limit: 100, route: 'crm' })) {
  console.log(entry.attempt, entry.verdict, entry.trigger)
  if (entry.verdict === 'delivered') break
  const retried = await api.retryDelivery({ id: entry.delivery })
  console.log(retried.state)
}
const stored = await api.getSignal({ id: first.id })
console.log(stored.signal.name, stored.deliveries[0].state)
try {
  await api.getDelivery({ id: 'dlv_0' })
} catch (error) {
  console.log(error.status ?? error.message)
}
console.log((await api.getHealth()).trim())
process.exit(0)
