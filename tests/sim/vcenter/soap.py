"""SOAP as a vCenter speaks it, with the types that pyVmomi knows: a request in, an envelope out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any
from xml.parsers.expat import ParserCreate

from pyVmomi import SoapAdapter as Soap
from pyVmomi import VmomiSupport, vmodl

from tests.sim.vcenter.objects import VERSION


@dataclass(frozen=True)
class Dialect:
    """A service's namespace, and the version of its types."""

    namespace: str
    version: str


VIM = Dialect("urn:vim25", VERSION)
PBM = Dialect("urn:pbm", "pbm.version.v8_0_2_0")
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"'
    ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "\n<soapenv:Body>\n"
)
_TAIL = "\n</soapenv:Body>\n</soapenv:Envelope>"
_FETCH = VmomiSupport.Object(
    name="Fetch",
    wsdlName="Fetch",
    params=(VmomiSupport.Object(name="prop", type=str, version=VERSION, flags=0),),
    methodResult=object,
)


class Written(str):
    """XML that is done: a method may answer with it."""

    __slots__ = ()


@dataclass
class Request:
    """A call: on which object, which method, with what."""

    kind: type
    moid: str
    method: str
    info: Any
    arguments: dict[str, Any]
    session: str  # named in the head, as services beside the vCenter want it


class _Stub(Soap.StubAdapterBase):
    """References in requests are made with it; nothing is ever called through it."""


_STUBS = {dialect: _Stub(dialect.version) for dialect in (VIM, PBM)}


def method_info(kind: type, method: str) -> Any:
    """What pyVmomi knows of a method, None for one that the type does not have."""
    if method == "Fetch":
        return _FETCH
    if kind not in _methods:
        _methods[kind] = {info.wsdlName: info for info in kind._GetMethodList()}
    return _methods[kind].get(method)


_methods: dict[type, dict[str, Any]] = {}


class _Reader(Soap.ExpatDeserializerNSHandlers):
    """Takes a request apart: `_this` first, then each argument by the type that the method's description says."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self._stub = _STUBS[dialect]
        self.method = ""
        self.this: Any = None
        self.info: Any = None
        self.arguments: dict[str, Any] = {}
        self._session = ""
        self._in_session = False
        self._in_body = False
        self._open: tuple[str, Any, bool] | None = None

    def read(self, data: bytes) -> Request:
        self.parser = ParserCreate(namespace_separator=Soap.NS_SEP)
        self.parser.buffer_text = True
        Soap.SetHandlers(self.parser, Soap.GetHandlers(self))
        self.parser.Parse(data, True)
        self._take()
        return Request(type(self.this), self.this._moId, self.method, self.info, self.arguments, self._session)

    def StartElementHandler(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(Soap.NS_SEP)[2]
        self._take()
        self._in_session = not self._in_body and name == "vcSessionCookie"
        if name == "Body":
            self._in_body = True
        elif self._in_body and not self.method:
            self.method = name
        elif self._in_body:
            self._begin(name, tag, attributes)

    def _begin(self, name: str, tag: str, attributes: dict[str, str]) -> None:
        kind, many = VmomiSupport.ManagedObject, False
        if name != "_this":
            if self.info is None:
                self.info = method_info(type(self.this), self.method)
            found = next((each for each in getattr(self.info, "params", ()) if each.name == name), None)
            if found is None:
                raise vmodl.fault.InvalidRequest(msg=f"{self.method} has no argument {name}")
            kind, many = found.type, issubclass(found.type, list)
        reader = Soap.SoapDeserializer(self._stub)
        reader.Deserialize(self.parser, kind.Item if many else kind, False, self.nsMap)
        self._open = name, reader, many
        reader.StartElementHandler(tag, attributes)

    def EndElementHandler(self, _tag: str) -> None:
        self._take()
        self._in_session = False

    def CharacterDataHandler(self, data: str) -> None:
        """The session, or white space between arguments."""
        if self._in_session:
            self._session += data

    def _take(self) -> None:
        if self._open is None:
            return
        (name, reader, many), self._open = self._open, None
        value = reader.GetResult()
        if name == "_this":
            self.this = value
            self.info = method_info(type(value), self.method)
        elif many:
            self.arguments.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        else:
            self.arguments[name] = value


def read_request(data: bytes, dialect: Dialect = VIM) -> Request:
    """Raises InvalidRequest, and what pyVmomi's parser raises, for what is no request."""
    return _Reader(dialect).read(data)


def write_value(name: str, value: Any, kind: type = object, dialect: Dialect = VIM) -> str:
    """A value as an element; of type `object` it says its type itself."""
    namespaces: Mapping[str, str] = {**Soap.SOAP_NSMAP, dialect.namespace: ""}
    info = VmomiSupport.Object(name=name, type=kind, version=dialect.version, flags=VmomiSupport.F_OPTIONAL)
    out = StringIO()
    writer = Soap.SoapSerializer(out, dialect.version, namespaces)
    writer.outermostAttrs = ""
    writer.Serialize(value, info)
    return out.getvalue()


def write_answer(method: str, info: Any, value: Any, dialect: Dialect = VIM) -> bytes:
    """The envelope of what a method returned."""
    if isinstance(value, Written):
        inner: str = value
    elif value is None:
        inner = ""
    else:
        inner = write_value("returnval", value, type(value) if method == "Fetch" else info.methodResult, dialect)
    return f'{_HEAD}<{method}Response xmlns="{dialect.namespace}">{inner}</{method}Response>{_TAIL}'.encode()


def write_fault(fault: Any, dialect: Dialect = VIM) -> bytes:
    """The envelope of a fault."""
    name = fault._wsdlName
    out = StringIO()
    writer = Soap.SoapSerializer(out, dialect.version, {**Soap.SOAP_NSMAP, dialect.namespace: ""})
    info = VmomiSupport.Object(name=f"{name}Fault", type=object, version=dialect.version, flags=0)
    writer.SerializeFaultDetail(fault, info)
    detail = out.getvalue().replace(f"<{name}Fault", f'<{name}Fault xmlns="{dialect.namespace}"', 1)
    message = Soap.XmlEscape(fault.msg or name)
    return (
        f"{_HEAD}<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>{message}</faultstring>"
        f"<detail>{detail}</detail></soapenv:Fault>{_TAIL}"
    ).encode()
