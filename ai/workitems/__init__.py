"""Our worklist: UPS-RS origin server (PS3.18 11) and IHE AIW-I Task Manager, for AI platforms that fetch their work."""
