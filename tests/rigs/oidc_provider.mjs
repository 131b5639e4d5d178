// oidc-provider (certified OpenID Connect) on loopback: its configuration, its keys, and how they rotate.
// Knows what a test hands it as JSON in argv; the accounts, clients and resource servers are the test's.
//
//   node oidc_provider.mjs '{"port": 0, "clients": [...], "accounts": {"dana": {"email": ...}}}'
//
// Prints {"issuer": ...} on one line when it listens. POST /_rig/rotate {"retire": bool} makes a new signing key;
// the one before stays published unless it is retired. GET /_rig/events: what it did that a client cannot see.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';
import { createMemoryAdapter } from './node_modules/oidc-provider/lib/adapters/memory_adapter.js';
import extend from './oidc_provider_grants.mjs';

const given = JSON.parse(process.argv[2]);
const events = [];
let keys = [];
let serial = 0;
let provider;
// Sessions and grants outlive a rotation of keys, for which the provider is made anew.
const kept = createMemoryAdapter();

const newKey = () => {
  serial += 1;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: `rig-${serial}`, use: 'sig', alg: 'RS256' };
};

const configuration = (issuer) => ({
  adapter: kept,
  clients: given.clients,
  jwks: { keys },
  cookies: { keys: ['a-rig-needs-no-secret'] },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: {
    openid: ['sub', 'oid', 'tid', 'hd', 'groups', '_claim_names', '_claim_sources'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
  },
  // As Okta, Entra ID and Auth0 do: the profile is in the ID token.
  conformIdTokenClaims: false,
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  issueRefreshToken: async (ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  rotateRefreshToken: true,
  // Some providers give no ID token to whoever is not there: this one does, as Okta does.
  ttl: { AccessToken: 300, AuthorizationCode: 60, IdToken: 300, RefreshToken: 86400, Session: 3600, Interaction: 600, Grant: 86400 },
  findAccount: async (ctx, id) => (given.accounts[id] ? { accountId: id, claims: async () => ({ sub: id, ...given.accounts[id] }) } : undefined),
  // A back-channel logout of this rig goes to loopback, which the server forbids by default.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  ...(given.configuration ?? {}),
});

const start = (issuer) => {
  const config = configuration(issuer);
  const made = new Provider(issuer, extend.configure ? extend.configure(config, given) : config);
  for (const name of ['grant.success', 'grant.error', 'backchannel.success', 'backchannel.error', 'grant.revoked', 'server_error']) {
    made.on(name, (ctx, error) => events.push({ name, error: error instanceof Error ? `${error.message} ${error.error_detail ?? ''}` : undefined }));
  }
  if (extend.provider) extend.provider(made, given);
  provider = made.callback();
};

const read = async (request) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : {};
};

const answer = (response, value) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
};

keys = [newKey()];
const server = createServer(async (request, response) => {
  if (request.url === '/_rig/rotate') {
    const { retire } = await read(request);
    keys = retire ? [newKey()] : [newKey(), ...keys];
    start(issuer());
    return answer(response, { kids: keys.map((key) => key.kid) });
  }
  if (request.url === '/_rig/events') return answer(response, events);
  return provider(request, response);
});
const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(given.port ?? 0, '127.0.0.1', () => {
  start(issuer());
  console.log(JSON.stringify({ issuer: issuer() }));
});
