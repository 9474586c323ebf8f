// The system's random numbers under the name that Rust's standard library asks for since Windows 10.
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *data, SIZE_T size) {
  return RtlGenRandom(data, (ULONG)size);
}
