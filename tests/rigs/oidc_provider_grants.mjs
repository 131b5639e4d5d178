// What this rig adds to oidc-provider: grant types and resource servers that it does not come with.
//
// `configure(configuration, given)` may change the configuration, `provider(provider, given)` may register grants.

export default {
  configure: (configuration, given) => configuration,
  provider: (provider, given) => {},
};
