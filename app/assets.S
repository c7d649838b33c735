/* The files of web/, in the program's read-only data. */
.macro asset symbol, file
  .global \symbol
  .global \symbol\()_end
\symbol:
  .incbin "\file"
\symbol\()_end:
  .byte 0
.endm

  .section .rodata
  asset parlor_openapi_json, "web/openapi.json"
  asset parlor_docs_html, "web/docs.html"
  asset parlor_docs_js, "web/docs.js"

  .section .note.GNU-stack,"",%progbits
