"""OAuth 2 and SMART App Launch 2.2: clients, keys, scopes, tokens. Authlib is the authorization server; no crypto of ours."""
