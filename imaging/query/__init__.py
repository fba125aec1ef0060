"""Query (PS3.4 C.2.2.2, C.6; PS3.18 10.6): keys parsed, matched in SQL, answers encoded. C-FIND, C-MOVE and C-GET ask here."""
