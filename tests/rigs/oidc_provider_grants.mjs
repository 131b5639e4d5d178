// What this rig adds to oidc-provider: grant types and resource servers that it does not come with.
//
// oidc-provider's own: the endpoint, client authentication, scopes and accounts, access and ID tokens, refresh tokens
// and their rotation, and the signature over every access token issued here (its AccessToken model, its keystore).
// The rig's own: reading RFC 8693, jwt-bearer (Entra's on-behalf-of) and ID-JAG requests and deciding what they are
// worth, the `act` claim, the ID-JAG itself (signed with the provider's key through jose), and `interaction_required`.
//
// given.exchange: {
//   own: audience of the access tokens that clients get by signing in,
//   apis: {audience: {scope: "a b", ttl: 300}},   APIs a token may be exchanged for
//   trusted: {issuer: jwks_uri},                  whose assertions are believed
//   step_up: [account],                           people who have to sign in again first
//   partners: {audience: client_id},              authorization servers an ID-JAG may be for, and our name there
// }

import { createLocalJWKSet, createRemoteJWKSet, decodeProtectedHeader, importJWK, jwtVerify, SignJWT } from 'jose';
import { errors } from 'oidc-provider';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TYPE = 'urn:ietf:params:oauth:token-type:';

let keys = [];
const used = new Set();

const publicKeys = () => createLocalJWKSet({ keys: keys.map(({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg })) });

// Whoever signed it has to be this provider or somebody it was told to trust.
const believed = async (provider, given, token, audience, what) => {
  let claimed;
  try {
    claimed = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
  } catch {
    throw new errors.InvalidRequest(`${what} is no JWT`);
  }
  const trusted = given.exchange.trusted ?? {};
  const source = claimed.iss === provider.issuer ? publicKeys() : trusted[claimed.iss] && createRemoteJWKSet(new URL(trusted[claimed.iss]));
  if (!source) throw new errors.InvalidGrant(`${what} is signed by nobody known here`);
  try {
    const { payload } = await jwtVerify(token, source, { issuer: claimed.iss, audience, clockTolerance: 5 });
    return payload;
  } catch (error) {
    throw new errors.InvalidGrant(`${what} does not hold: ${error.code}`);
  }
};

const narrowed = (asked, allowed) => {
  const scopes = asked.split(' ').filter((scope) => allowed.includes(scope));
  if (!scopes.length) throw new errors.InvalidScope('none of these scopes is given here', asked);
  return scopes.join(' ');
};

// An access token of oidc-provider's own, for one API, in the name of `accountId`.
const issue = async (ctx, given, { accountId, audience, scope, act, extra = {} }) => {
  const { provider } = ctx.oidc;
  const api = given.exchange.apis?.[audience];
  if (!api) throw new errors.InvalidTarget('no such API here');
  const token = new provider.AccessToken({ accountId, client: ctx.oidc.client, scope: narrowed(scope, api.scope.split(' ')), gty: 'exchange' });
  token.resourceServer = new provider.ResourceServer(audience, { scope: api.scope, accessTokenFormat: 'jwt', accessTokenTTL: api.ttl ?? 300, jwt: { sign: { alg: 'RS256' } } });
  token.expiresIn = api.ttl ?? 300;
  ctx.rigExtra = { ...extra, ...(act ? { act } : {}) };
  ctx.oidc.entity('AccessToken', token);
  const value = await token.save();
  ctx.body = { access_token: value, expires_in: token.expiration, scope: token.scope, token_type: token.tokenType };
};

const exchange = (given) => async (ctx) => {
  const { provider, client, body } = ctx.oidc;
  const kind = body.subject_token_type?.replace(TYPE, '');
  const here = `${provider.issuer}/token`;
  const audience = { access_token: given.exchange.own, id_token: client.clientId, jwt: here }[kind];
  if (!audience || !body.subject_token || !body.audience || !body.scope) throw new errors.InvalidRequest('subject_token, audience and scope are needed');
  const subject = await believed(provider, given, body.subject_token, audience, 'the subject token');
  if (body.requested_token_type === `${TYPE}id-jag`) {
    if (kind !== 'id_token') throw new errors.InvalidRequest('an identity assertion is given for an ID token');
    const known = given.exchange.partners?.[body.audience];
    if (!known) throw new errors.InvalidTarget('no such authorization server');
    const key = await importJWK(keys[0], 'RS256');
    const assertion = await new SignJWT({ client_id: known, scope: body.scope, ...(body.resource ? { resource: body.resource } : {}) })
      .setProtectedHeader({ alg: 'RS256', kid: keys[0].kid, typ: 'oauth-id-jag+jwt' })
      .setIssuer(provider.issuer).setSubject(subject.sub).setAudience(body.audience)
      .setJti(crypto.randomUUID()).setIssuedAt().setExpirationTime('300s').sign(key);
    ctx.body = { issued_token_type: `${TYPE}id-jag`, access_token: assertion, token_type: 'N_A', scope: body.scope, expires_in: 300 };
    return;
  }
  let actor = client.clientId;
  if (body.actor_token) actor = (await believed(provider, given, body.actor_token, here, 'the actor token')).sub;
  await issue(ctx, given, { accountId: subject.sub, audience: body.audience, scope: body.scope, act: { sub: actor } });
  ctx.body.issued_token_type = `${TYPE}access_token`;
};

const bearer = (given) => async (ctx) => {
  const { provider, client, body } = ctx.oidc;
  if (!body.assertion) throw new errors.InvalidRequest('assertion is needed');
  if (body.requested_token_use === 'on_behalf_of') {
    const subject = await believed(provider, given, body.assertion, given.exchange.own, 'the assertion');
    if ((given.exchange.step_up ?? []).includes(subject.sub)) {
      // As Entra answers where an API's conditional access wants more than the sign-in proved.
      ctx.status = 400;
      ctx.body = { error: 'interaction_required', error_description: 'AADSTS50079', suberror: 'basic_action', claims: '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}' };
      return;
    }
    const audience = Object.keys(given.exchange.apis).find((name) => body.scope.startsWith(`${name}/`));
    const account = given.accounts[subject.sub] ?? {};
    const scope = body.scope.split(' ').map((one) => one.slice(audience?.length + 1)).join(' ');
    await issue(ctx, given, { accountId: subject.sub, audience, scope, extra: { oid: account.oid, tid: account.tid, scp: scope } });
    ctx.body.scope = body.scope;
    return;
  }
  let type;
  try { type = decodeProtectedHeader(body.assertion).typ; } catch { throw new errors.InvalidRequest('the assertion is no JWT'); }
  if (type !== 'oauth-id-jag+jwt') throw new errors.InvalidGrant('the assertion is no identity assertion');
  const subject = await believed(provider, given, body.assertion, provider.issuer, 'the assertion');
  if (subject.client_id !== client.clientId) throw new errors.InvalidGrant('the assertion is for another client');
  if (used.has(subject.jti)) throw new errors.InvalidGrant('the assertion was used before');
  used.add(subject.jti);
  await issue(ctx, given, { accountId: subject.sub, audience: subject.resource, scope: subject.scope, act: { sub: client.clientId } });
};

export default {
  configure: (configuration, given) => {
    if (!given.exchange) return configuration;
    keys = configuration.jwks.keys;
    const own = given.exchange.own;
    return {
      ...configuration,
      features: {
        ...configuration.features,
        resourceIndicators: {
          enabled: true,
          defaultResource: async () => own,
          useGrantedResource: async () => true,
          getResourceServerInfo: async () => ({ scope: '', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }),
        },
      },
      extraTokenClaims: async (ctx) => ctx.rigExtra,
    };
  },
  provider: (provider, given) => {
    if (!given.exchange) return;
    provider.registerGrantType(EXCHANGE, exchange(given), ['subject_token', 'subject_token_type', 'requested_token_type', 'actor_token', 'actor_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource']);
    provider.registerGrantType(BEARER, bearer(given), ['assertion', 'requested_token_use', 'scope']);
  },
};
